"""The page in a real browser: it asks, waits, reads, and moves weights, with the keyboard alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prag_lightning.documents.records import Document, read_records, write_records
from tests.serving.conftest import fit
from tests.serving.running import Running, running

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api", reason="needs Playwright")
MAY_TAKE_MS = 120_000
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=1</script>'


@pytest.fixture(scope="module")
def hostile_run(tmp_path_factory: pytest.TempPathFactory, base_dir: Path) -> Path:
    """A run whose documents have titles with HTML in them."""
    root = tmp_path_factory.mktemp("page")
    fit(base_dir, root / "world", root / "run")
    file = root / "world" / "documents.jsonl"
    # The title is no part of an adapter.
    documents = [
        one.model_copy(update={"title": f"{one.title} {HOSTILE}"})
        for one in read_records(file, Document)
    ]
    write_records(file, documents)
    return root / "run"


@pytest.fixture(scope="module")
def service(hostile_run: Path) -> Iterator[Running]:
    with running(hostile_run, token="sesame") as service:
        yield service


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, service: Running) -> Iterator[Any]:
    """The page, with the token given; it fails the test if the console shows an error."""
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(MAY_TAKE_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "console",
        # The browser itself says that a request was refused for want of the token.
        lambda said: said.type == "error" and "401" not in said.text and errors.append(said.text),
    )
    page.goto(service.url)
    page.get_by_label("This service asks for its token").fill("sesame")
    page.keyboard.press("Enter")
    page.locator("#encoded tr").first.wait_for()
    yield page
    assert errors == []
    context.close()


def answers(page: Any) -> dict[str, str]:
    """Return what each method says, once all have ended."""
    page.locator(".card.busy").first.wait_for(state="attached")
    playwright.expect(page.locator(".card.busy")).to_have_count(0, timeout=MAY_TAKE_MS)
    cards = page.locator(".card").all()
    return {card.locator("h3").inner_text(): card.locator(".answer").inner_text() for card in cards}


def test_a_question_is_answered_by_each_method_and_a_weight_changes_the_merge(
    page: Any, service: Running
) -> None:
    page.get_by_label("Question", exact=True).fill("Where was Karek Bremlock born?")
    page.get_by_role("button", name="Ask", exact=True).click()
    said = answers(page)
    assert list(said) == ["closed_book", "rag", "prag", "combine"]
    assert all(said.values())
    page.locator(".document").first.wait_for()
    assert page.locator(".document").count() == 3
    sent: list[Any] = []
    page.on(
        "request", lambda request: sent.append(request.post_data_json) if request.post_data else 0
    )
    slider = page.locator("input[type=range]").first
    slider.fill("0.35")
    answers(page)
    assert page.locator("output").first.inner_text() == "0.35"
    asked = {body["model"]: body["prag"]["weights"] for body in sent}
    assert set(asked) == {"prag", "combine"}
    assert asked["prag"][slider.get_attribute("data-document")] == 0.35
    page.get_by_role("button", name="Back to the run's weights").click()
    answers(page)
    playwright.expect(page.locator("output").first).to_have_text("1.00")
    page.get_by_role("button", name="Ask it the same").click()
    playwright.expect(page.locator("#stranger-answer")).not_to_be_empty(timeout=MAY_TAKE_MS)
    stranger = page.get_by_label("Control").input_value()
    assert sent[-1]["prag"]["weights"] == {stranger: 1}


def test_titles_with_html_in_them_stay_text(page: Any) -> None:
    page.get_by_label("Question", exact=True).fill(f"Who is {HOSTILE} Bremlock?")
    page.keyboard.press("Enter")
    answers(page)
    page.locator(".document").first.wait_for()
    assert HOSTILE in page.locator(".document h3").first.inner_text()
    assert HOSTILE in page.locator("#encoded td").first.inner_text()
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "Ask the weights · prag-lightning"


def test_the_keyboard_alone_asks_and_moves_a_weight(page: Any) -> None:
    def focused() -> str:
        return str(page.evaluate("document.activeElement.id || document.activeElement.tagName"))

    page.reload()
    page.keyboard.press("Tab")
    assert page.get_by_text("Skip to the question").is_visible()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    for _ in range(4):
        if focused() == "key":
            break
        page.keyboard.press("Tab")
    page.keyboard.type("sesame")
    page.keyboard.press("Enter")
    page.locator("#encoded tr").first.wait_for()
    for _ in range(12):
        page.keyboard.press("Shift+Tab")
        if focused() == "question":
            break
    assert focused() == "question"
    page.keyboard.type("Where was Karek Bremlock born?")
    page.keyboard.press("Enter")
    answers(page)
    page.locator(".document").first.wait_for()
    for _ in range(12):
        page.keyboard.press("Tab")
        if focused() == "weight-0":
            break
    assert focused() == "weight-0"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    before = page.locator("output").first.inner_text()
    page.keyboard.press("ArrowLeft")
    answers(page)
    assert page.locator("output").first.inner_text() != before
    assert "prag:" in page.locator("#said").inner_text()


def test_a_document_that_is_added_on_the_page_is_shown_as_stored(page: Any) -> None:
    page.get_by_text("Add a document").click()
    page.get_by_label("Title").fill("Zadok Ferrow")
    page.get_by_label("Text", exact=True).fill(
        "Zadok Ferrow was born in Maplewick. Zadok Ferrow works as a baker."
    )
    page.get_by_role("button", name="Add it").click()
    row = page.locator("#encoded tr", has_text="Zadok Ferrow")
    row.wait_for()
    playwright.expect(row.locator("td").nth(1)).to_have_text("encoded", timeout=MAY_TAKE_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_of_axe_core_is_broken(page: Any, scheme: str) -> None:
    axe = Path(__file__).parents[2] / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.exists():
        pytest.skip("needs axe-core in the checkout: npm install --no-save axe-core")
    page.emulate_media(color_scheme=scheme)
    page.get_by_label("Question", exact=True).fill("Where was Karek Bremlock born?")
    page.keyboard.press("Enter")
    answers(page)
    page.locator(".document").first.wait_for()
    # The page's policy keeps other scripts out; the browser's own evaluation passes it.
    page.evaluate(axe.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [(v["id"], v["nodes"][0]["html"]) for v in found["violations"]] == []

"""The page in a real browser: it asks, waits, reads, and moves weights, with the keyboard alone."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def opened(browser: Any, service: Running, **settings: Any) -> Iterator[Any]:
    """Open the page and give it the token; an error on the console fails the test."""
    context = browser.new_context(**settings)
    page = context.new_page()
    page.set_default_timeout(MAY_TAKE_MS)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.goto(service.url)
    page.get_by_label("This service asks for its token").fill("sesame")
    page.keyboard.press("Enter")
    page.locator("#encoded tr").first.wait_for()
    yield page
    # The browser itself says that a request was refused for want of the token.
    assert [error for error in errors if "401" not in error] == []
    context.close()


@pytest.fixture
def page(browser: Any, service: Running) -> Iterator[Any]:
    with opened(browser, service) as page:
        yield page


@contextmanager
def answered(page: Any, number: int) -> Iterator[None]:
    """Wait, after what the block does, until that many answers are whole."""
    ended: list[Any] = []

    def note(request: Any) -> None:
        if request.url.endswith("/v1/chat/completions"):
            ended.append(request)

    page.on("requestfinished", note)
    yield
    while len(ended) < number:
        page.wait_for_timeout(20)
    page.remove_listener("requestfinished", note)
    playwright.expect(page.locator(".card.busy")).to_have_count(0, timeout=MAY_TAKE_MS)


def ask(page: Any, text: str) -> dict[str, str]:
    """Ask a question, and return what each method says."""
    page.get_by_label("Question", exact=True).fill(text)
    with answered(page, 4):
        page.get_by_role("button", name="Ask", exact=True).click()
    page.locator(".document").first.wait_for()
    cards = page.locator(".card").all()
    return {card.locator("h3").inner_text(): card.locator(".answer").inner_text() for card in cards}


def test_a_question_is_answered_by_each_method_and_a_weight_changes_the_merge(page: Any) -> None:
    said = ask(page, "Where was Karek Bremlock born?")
    assert list(said) == ["closed_book", "rag", "prag", "combine"]
    assert all(said.values())
    assert page.locator(".document").count() == 3
    sent: list[Any] = []
    page.on(
        "request", lambda request: sent.append(request.post_data_json) if request.post_data else 0
    )
    slider = page.locator("input[type=range]").first
    with answered(page, 2):
        slider.fill("0.35")
    assert page.locator("output").first.inner_text() == "0.35"
    asked = {body["model"]: body["prag"]["weights"] for body in sent}
    assert set(asked) == {"prag", "combine"}
    assert asked["prag"][slider.get_attribute("data-document")] == 0.35
    with answered(page, 2):
        page.get_by_role("button", name="Back to the run's weights").click()
    playwright.expect(page.locator("output").first).to_have_text("1.00")
    with answered(page, 1):
        page.get_by_role("button", name="Ask it the same").click()
    playwright.expect(page.locator("#stranger-answer")).not_to_be_empty()
    assert sent[-1]["prag"]["weights"] == {page.get_by_label("Control").input_value(): 1}


def test_titles_with_html_in_them_stay_text(page: Any) -> None:
    ask(page, f"Who is {HOSTILE} Bremlock?")
    assert HOSTILE in page.locator(".document h3").first.inner_text()
    assert HOSTILE in page.locator("#encoded").inner_text()
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "Ask the weights · prag-lightning"


def test_the_keyboard_alone_asks_and_moves_a_weight(page: Any) -> None:
    def press_until(key: str, place: str) -> None:
        for _ in range(30):
            page.keyboard.press(key)
            if page.locator(f"{place}:focus").count():
                return
        raise AssertionError(f"{key} does not lead to {place}")

    press_until("Shift+Tab", "#question")
    page.keyboard.type("Where was Karek Bremlock born?")
    with answered(page, 4):
        page.keyboard.press("Enter")
    page.locator(".document").first.wait_for()
    press_until("Tab", "#weight-0")
    before = page.locator("output").first.inner_text()
    with answered(page, 2):
        page.keyboard.press("ArrowLeft")
    assert page.locator("output").first.inner_text() != before
    assert "prag: " in page.locator("#said").inner_text()
    press_until("Tab", "#ask-stranger")
    with answered(page, 1):
        page.keyboard.press("Enter")


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
def test_no_rule_of_axe_core_is_broken(browser: Any, service: Running, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="needs axe-playwright-python"
    )
    # The page's policy lets no script in but its own.
    with opened(browser, service, bypass_csp=True, color_scheme=scheme) as page:
        ask(page, "Where was Karek Bremlock born?")
        page.get_by_text("Add a document").click()
        found = axe.Axe().run(page).response
    assert found["testEngine"]["name"] == "axe-core"
    assert len(found["passes"]) > 20
    assert [(v["id"], v["nodes"][0]["html"]) for v in found["violations"]] == []

"""Who may listen where, how often a client may ask, and what is told of errors."""

from pathlib import Path

import pytest

from prag_lightning.cli import exit_status
from prag_lightning.cli.main import main
from prag_lightning.serving import fit_process
from prag_lightning.serving.errors import RefusalError, one_line
from prag_lightning.serving.fit_process import FitResult
from prag_lightning.serving.rates import RequestRates
from prag_lightning.serving.settings import TOKEN_VARIABLE, ServingSettings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.org"])
def test_an_address_that_others_reach_needs_a_token_or_a_word(host: str) -> None:
    with pytest.raises(ValueError, match=f"everyone who reaches {host} could ask"):
        ServingSettings(Path("run"), host=host)
    ServingSettings(Path("run"), host=host, token="sesame")
    ServingSettings(Path("run"), host=host, open_to_all=True)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_s_own_addresses_need_none(host: str) -> None:
    assert ServingSettings(Path("run"), host=host).is_local


@pytest.mark.parametrize("token", ["", " ", "open sesame", "s\u00e9same", "sesame\n"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match=TOKEN_VARIABLE) as refused:
        ServingSettings(Path("run"), token=token)
    assert "same" not in str(refused.value)


def test_the_command_refuses_to_be_open_before_it_loads_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    words = ["serve", "--run", str(tmp_path), "--host", "0.0.0.0"]
    assert main(words) == 2
    assert "fit.yaml: no such file" in capsys.readouterr().err
    (tmp_path / "fit.yaml").write_text("{}")
    assert main(words) == 2
    assert "or give --open_to_all" in capsys.readouterr().err


def test_a_client_gets_its_rate_and_another_one_is_not_held_up() -> None:
    now = [0.0]
    rates = RequestRates(2.0, lambda: now[0])
    waits = [rates.seconds_to_wait("a") for _ in range(5)]
    assert waits == [0, 0, 0, 0, 0.5]
    assert rates.seconds_to_wait("b") == 0
    now[0] = 0.5
    assert rates.seconds_to_wait("a") == 0
    assert rates.seconds_to_wait("a") == 0.5
    now[0] = 1000.0
    assert [rates.seconds_to_wait("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]


def test_a_refusal_is_one_short_line_whatever_was_sent() -> None:
    hostile = "a\r\nb\x1b[31m\ud800" + "x" * 10_000
    assert one_line(hostile).startswith("a bxx")
    assert len(one_line(hostile)) < 310
    refusal = RefusalError(429, "slowly", retry_after=3)
    assert refusal.response().headers["Retry-After"] == "3"
    assert refusal.body()["error"]["type"] == "rate_limit_error"


def test_the_statuses_of_a_fit_are_those_of_the_command_line() -> None:
    names = ("DONE", "SOME_FAILED", "TRY_AGAIN", "TERMINATED")
    for name in names:
        assert getattr(fit_process, name) == getattr(exit_status, name)


def test_why_a_document_was_not_encoded_is_read_from_what_the_fit_printed() -> None:
    output = "2 documents\nnot encoded: a: its loss is not finite\n1 of 2 documents are in x\n"
    assert FitResult(3, output).reason("a") == "its loss is not finite"
    assert FitResult(2, "prag: there is no base 'x'\n").reason("a") == "there is no base 'x'"
    assert FitResult(-9, "").last_line == "it ended with -9"

"""Addresses without passwords."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prag_lightning.retrieval.address import redacted, require_address, without_passwords


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://elastic:s3cret@host:9200", "https://host:9200"),
        ("https://s3cret@host/path", "https://host/path"),
        ("https://:s3cret@host", "https://host"),
        ("https://me:/s3cret@host", "https://host"),
        ("https://me:s3@cr/et?#@host:9200/x", "https://host:9200/x"),
        ("https://me:s3cret@[::1]:9200", "https://[::1]:9200"),
        ("https://me:s3 cret'@host", "https://host"),
        ("https://host?api_key=s3cret&top=3", "https://host?api_key=***&top=3"),
        ("https://host/x?a=1&X-Auth-Token=s3cret#end", "https://host/x?a=1&X-Auth-Token=***#end"),
        # What holds no secret stays as it is.
        ("http://localhost:9200", "http://localhost:9200"),
        ("http://[::1]:9200/@me", "http://[::1]:9200/@me"),
        ("https://host/@user/page?mail=a@b", "https://host/@user/page?mail=a@b"),
        ("mail me@host", "mail me@host"),
        ("runs/demo", "runs/demo"),
        ("", ""),
    ],
)
def test_user_and_password_go_and_all_else_stays(url: str, shown: str) -> None:
    assert redacted(url) == shown


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_password_survives(password: str) -> None:
    assert redacted(f"https://me:<{password}>@host:9200/x") == "https://host:9200/x"


def test_settings_are_redacted_at_every_depth() -> None:
    settings: dict[str, Any] = {
        "data": {"retriever": {"init_args": {"url": "http://me:s3cret@host", "index": "wiki"}}},
        "list": ["http://me:s3cret@host", 3, None],
        "tuple": ("http://me:s3cret@host",),
    }
    assert without_passwords(settings) == {
        "data": {"retriever": {"init_args": {"url": "http://host", "index": "wiki"}}},
        "list": ["http://host", 3, None],
        "tuple": ("http://host",),
    }
    # The settings themselves stay.
    assert settings["list"][0] == "http://me:s3cret@host"


def test_an_address_is_scheme_host_port_and_path() -> None:
    for url in ("http://localhost:9200", "https://host/search", "http://[::1]:9200"):
        assert require_address(url + "/", "x") == url
    for url in ("http://host?a=1", "http://host#a", "http://me@host"):
        with pytest.raises(ValueError, match="give scheme, host and port only, and set X"):
            require_address(url, "set X")

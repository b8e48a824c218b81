"""Addresses as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma4cli.errors import OptionError
from gemma4cli.remote.address import address_of


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:11535", "http://127.0.0.1:11535"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("studio", "http://studio:11535"),
        ("studio.local:8000/", "http://studio.local:8000"),
        ("http://studio", "http://studio:80"),
        ("https://models.example/g4/", "https://models.example:443/g4"),
        ("http://localhost:11535/v1", "http://localhost:11535"),
        (" HTTP://Localhost:1 ", "http://localhost:1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("[::1]", "http://[::1]:11535"),
        ("unix:/run/g4.sock", "unix:/run/g4.sock"),
        ("unix:///run/g4.sock", "unix:/run/g4.sock"),
    ],
)
def test_an_address_is_understood(text: str, address: str) -> None:
    assert str(address_of(text)) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ftp://host", "only http, https and unix"),
        ("unix:", "names no socket"),
        ("http://", "names no host"),
        ("http://a b/", "names no host"),
        ("http://host:port", "--server http://host:port"),
        ("http://host:99999", "--server http://host:99999"),
        ("http://host/?a=1", "leave out what follows the path"),
        ("http://host/a\u00e9", "its path"),
    ],
)
def test_what_is_no_address_gets_an_error(text: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        address_of(text)


def test_a_socket_may_be_given_from_here_or_from_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert str(address_of("unix:g4.sock")) == f"unix:{tmp_path}/g4.sock"
    assert str(address_of("unix:~/g4.sock")) == "unix:/home/me/g4.sock"


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(OptionError, match="G4_SERVER_TOKEN") as raised:
        address_of("http://me:secret@host")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "local"),
    [
        ("localhost", True),
        ("127.0.0.9", True),
        ("[::1]", True),
        ("unix:/run/g4.sock", True),
        ("studio", False),
        ("10.1.1.1", False),
    ],
)
def test_loopback_is_this_machine(text: str, *, local: bool) -> None:
    assert address_of(text).is_this_machine is local

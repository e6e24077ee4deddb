"""A proxy that cannot be one is named as the cause, before anything is sent and without its password."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from runbook_lib.digicert.proxies import proxies_for
from runbook_lib.errors import Reason, RunbookError
from tests.digicert.conftest import Scripted

URL = "https://one.example/account"
PASSWORD = "sword" + "fish"


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value",
    [
        *("socks5://localhost:1080", "socks5h://localhost:1080", "SOCKS4A://localhost", "ftp://proxy:21"),
        *("http://[bad", "http://[bad]:80", "http://[::1%eth0]:80", "http://[::1]x:80", "[::1", "http://"),
        *("proxy:notaport", "http://proxy:notaport", "http://proxy:99999", "http://proxy:0", "http://proxy:-1"),
        *("http://pro xy:80", "http://proxy\n:80", "http://a..b:80", "http://" + "a" * 64 + ":80", "://", ":8080"),
        *(f"http://me:{PASSWORD}#x@proxy:80", f"http://me:{PASSWORD}/x@proxy:80", f"socks5://me:{PASSWORD}@proxy:1"),
    ],
)  # fmt: skip
def test_what_is_not_a_proxy_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(RunbookError) as caught:
        proxies_for(URL)
    assert caught.value.reason is Reason.BAD_PARAMETER
    assert variable in caught.value.what
    assert PASSWORD not in str(caught.value)


def test_a_socks_proxy_is_called_one(monkeypatch: pytest.MonkeyPatch, scripted: Scripted) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://localhost:1080")
    with pytest.raises(RunbookError, match="SOCKS"):
        scripted.client().me()


@pytest.mark.parametrize(
    ("value", "taken"),
    [
        ("http://proxy:8080", "http://proxy:8080"),
        ("proxy:8080", "http://proxy:8080"),
        ("//proxy:8080", "http://proxy:8080"),
        (" https://proxy/ ", "https://proxy/"),
        ("http://me:p%40ss@10.0.0.1:8080", "http://me:p%40ss@10.0.0.1:8080"),
        ("http://[::1]:3128", "http://[::1]:3128"),
    ],
)
def test_the_usual_ways_to_write_a_proxy_are_taken(monkeypatch: pytest.MonkeyPatch, value: str, taken: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    assert proxies_for(URL) == {"https": taken}


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [
        ("one.example", True),
        (".example", True),
        ("*", True),
        (" one.example , other", True),
        ("one.example:443", False),
        ("other,,,", False),
        ("[bad", False),
        ("10.0.0.0/99", False),
        ("http://one.example", False),
        ("\x00", False),
    ],
)
def test_whatever_no_proxy_holds_ends_in_a_decision(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, direct: bool
) -> None:
    monkeypatch.setattr("os.environ", {"HTTPS_PROXY": "proxy:1", "NO_PROXY": no_proxy})
    assert (proxies_for(URL) == {}) is direct


# --- a proxy that is one, and does not connect ------------------------------------------------------------------------


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """A proxy that answers CONNECT with what the list holds."""
    answers: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(answers[0])

    threading.Thread(target=serve, daemon=True).start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
    yield answers
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 407 " + PASSWORD.encode() + b"\r\n\r\n", "user name"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "The proxy in front of"),
        (b"", "The proxy in front of"),
        (b"HTTP/1.1 200 " + b"x" * 70000 + b"\r\n\r\n", "The proxy in front of"),
    ],
)
def test_a_proxy_that_does_not_connect_is_the_cause_that_is_named(
    scripted: Scripted, proxy: list[bytes], answer: bytes, said: str
) -> None:
    proxy.append(answer)
    with pytest.raises(RunbookError, match=said) as caught:
        scripted.client().me()
    assert caught.value.reason is Reason.UNREACHABLE
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("host", ["nobody.invalid:80", "127.0.0.1:1"])
def test_a_proxy_that_is_not_there_is_reported_as_the_proxy_and_not_as_the_host(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", host)
    with pytest.raises(RunbookError, match="The proxy in front of localhost"):
        scripted.client().me()

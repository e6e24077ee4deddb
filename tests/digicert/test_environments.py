"""An environment is named, or refused with the reason."""

from __future__ import annotations

import pytest

from runbook_lib.digicert.environments import HOSTS, Environment
from runbook_lib.errors import Reason, RunbookError


@pytest.mark.parametrize(("name", "host"), HOSTS.items())
def test_each_region_has_its_two_hosts(name: str, host: str) -> None:
    environment = Environment.named(name, environ={})
    assert environment == Environment(name, f"https://{host}", f"https://clientauth.{host}")
    assert Environment.named(f"https://{host}/", environ={}) == environment
    assert not environment.is_local


def test_any_other_host_may_be_given_and_has_a_folder_of_its_own() -> None:
    environment = Environment.named("https://one.example.com:8443", environ={})
    assert environment.name == "one.example.com_8443"
    assert environment.clientauth_url == "https://clientauth.one.example.com:8443"


@pytest.mark.parametrize(
    "text",
    [
        "http://one.digicert.com",
        "https://clientauth.one.digicert.com",
        "https://one.digicert.com/account",
        "https://me:secret@one.digicert.com",
        "https://@one.digicert.com",
        "https://:secret@one.digicert.com",
        "me:secret@one.digicert.com",
        "https://one.digicert.com:port",
        "https://one.digicert.com:",
        "https://one.digicert.com:0",
        "https://one.digicert.com:65536",
        "https://one.digicert.com:-1",
        "https://one.digicert.com#x",
        "https://one.digicert.com?x",
        "https://one.digicert.com?",
        "https://one.digicert.com/#",
        "https://[bad",
        "https://bad]",
        "https://[v1.a]",
        "https://[::1%25eth0]",
        "https://[1.2.3.4]",
        "https://one..example",
        "https://.example",
        "https://..",
        "https://-one.example",
        "https://one.example..",
        "https://" + "a" * 64 + ".example",
        "https://" + "a." * 130 + "example",
        "https://one.\nexample",
        "https://one.\texample",
        "https://one.exa mple",
        "https://one.example\x00",
        "https://one.example\\x",
        "https://one%2eexample",
        "https://bücher.example",
        "https://one.example\uff0fx",
        "https://*.example",
        "https://",
        "https:///path",
        "https:one.example",
        "prod",
        "",
    ],
)
def test_what_is_not_an_environment_is_refused(text: str) -> None:
    with pytest.raises(RunbookError) as caught:
        Environment.named(text, environ={})
    assert caught.value.reason is Reason.BAD_PARAMETER
    assert "secret" not in str(caught.value)
    for name in ("DIGICERT_ONE_URL", "DIGICERT_ONE_CLIENTAUTH_URL"):
        given = {"DIGICERT_ONE_URL": "https://one.example", name: text}
        if text and not (name == "DIGICERT_ONE_CLIENTAUTH_URL" and "clientauth" in text):
            with pytest.raises(RunbookError, match=name) as caught:
                Environment.named("configured", environ=given)
            assert "secret" not in str(caught.value)


def test_the_sandbox_is_where_the_variables_say_and_only_on_this_machine() -> None:
    environ = {"DIGICERT_ONE_URL": "https://localhost:1", "DIGICERT_ONE_CLIENTAUTH_URL": "https://localhost:2"}
    assert Environment.named("sandbox", environ=environ) == Environment(
        "sandbox", "https://localhost:1", "https://localhost:2"
    )
    real = {"DIGICERT_ONE_URL": "https://demo.one.digicert.com"}
    assert Environment.named("configured", environ=real).name == "demo"
    with pytest.raises(RunbookError, match="not on this machine"):
        Environment.named("sandbox", environ=real)
    with pytest.raises(RunbookError, match="is not set"):
        Environment.named("sandbox", environ={})


@pytest.mark.parametrize("more", ["\n", " ", "/", "/\r\n"])
def test_what_stands_behind_an_address_in_a_variable_is_taken_off_both(more: str) -> None:
    environ = {
        "DIGICERT_ONE_URL": "https://localhost:1" + more,
        "DIGICERT_ONE_CLIENTAUTH_URL": "https://localhost:2" + more,
    }
    assert Environment.named("sandbox", environ=environ) == Environment(
        "sandbox", "https://localhost:1", "https://localhost:2"
    )


@pytest.mark.parametrize("url", ["https://[::1]:8443", "https://one.example.", "https://xn--bcher-kva.example"])
def test_unusual_hosts_that_can_exist_are_taken(url: str) -> None:
    assert Environment.named(url, environ={}).api_url == url


@pytest.mark.parametrize("path", ["~nobody-of-that-name/ca.pem", "ca\x00.pem"])
def test_the_path_of_a_ca_file_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(RunbookError, match="ca_file") as caught:
        Environment.named("demo", environ={}, ca_file=path)
    assert caught.value.reason is Reason.BAD_PARAMETER

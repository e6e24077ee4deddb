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
        "https://one.digicert.com:port",
        "https://",
        "prod",
        "",
    ],
)
def test_what_is_no_environment_is_refused(text: str) -> None:
    with pytest.raises(RunbookError) as caught:
        Environment.named(text, environ={})
    assert caught.value.reason is Reason.BAD_PARAMETER


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

"""A list that is only a part proves nothing: nobody issues, disables or rotates because of what it does not hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.catalogue import Reason
from runbook_lib.procedures.access import Access
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.procedure import Procedure
from runbook_lib.procedures.rotate import Rotate
from tests.conftest import Sandbox
from tests.digicert.hostile import one
from tests.procedures.between import between
from tests.procedures.conftest import issue, prepare, run


class Wire:
    """What is changed in the answers on their way, and which requests changed something."""

    environ: dict[str, str]

    def __init__(self) -> None:
        self.lists: Callable[[Any], Any] = lambda body: None
        self.posts: Callable[[Any], Any] = lambda body: None
        self.sent: list[str] = []

    def __call__(self, method: str, path: str, body: Any) -> Any:
        if method != "GET":
            self.sent.append(method)
            return self.posts(body) if method == "POST" else None
        return self.lists(body) if "client-auth-certificate" in path else None


@pytest.fixture
def wire(sandbox: Sandbox, tmp_path: Path) -> Iterator[Wire]:
    wire = Wire()
    user = {"DIGICERT_ONE_API_KEY": sandbox.admin("POST", "/users")["api_key"]}
    with between(sandbox, tmp_path / "tls", wire) as environ:
        wire.environ = environ | user | {"DIGICERT_ONE_STORE": str(tmp_path / "store")}
        yield wire


PARTS: dict[str, Callable[[Any], Any]] = {
    "a total": lambda body: {"total": 1_000, "items": []},
    "a link that leads elsewhere": lambda body: {"next": "https://evil.example/", "items": []},
    "an entry that cannot be read": lambda body: [one(1, name=...)],
    "an error beside": lambda body: {"items": [], "errors": [{"code": "timeout"}]},
}


def refused(procedure: Procedure[Any]) -> Reason:
    error = run(procedure).error
    assert error is not None
    return Reason(error["reason"])


@pytest.mark.parametrize("part", PARTS)
def test_a_request_in_doubt_is_not_sent_again_for_a_part(sandbox: Sandbox, wire: Wire, part: str) -> None:
    wire.lists, wire.posts = PARTS[part], lambda body: b"<html>"
    first = prepare(Issue, sandbox, wire.environ, name="Doubt", confirm="Doubt", key_kind="p-256")
    assert refused(first) is Reason.OUTCOME_UNKNOWN
    assert wire.sent == ["POST"]
    wire.lists = wire.posts = lambda body: None
    issue(sandbox, "Doubt", wire.environ)  # the list is whole again: the lost one is found, and disabled
    assert wire.sent == ["POST", "PUT", "POST"]


@pytest.mark.parametrize("part", PARTS)
def test_neither_access_nor_a_rotation_changes_anything_for_a_part(sandbox: Sandbox, wire: Wire, part: str) -> None:
    issue(sandbox, "Kept", wire.environ)
    wire.sent.clear()
    wire.lists = PARTS[part]
    given = {"name": "Kept", "confirm": "Kept"}
    assert refused(prepare(Access, sandbox, wire.environ, **given, allow_outage_of="Kept")) is Reason.LIST_NOT_WHOLE
    assert refused(prepare(Rotate, sandbox, wire.environ, **given, rotate_now=True)) is Reason.LIST_NOT_WHOLE
    assert wire.sent == []
    wire.lists = lambda body: None
    assert run(prepare(Access, sandbox, wire.environ, **given, allow_outage_of="Kept")).error is None
    assert wire.sent == ["PUT", "PUT"]

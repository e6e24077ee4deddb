"""An archive with notices: bags without kernels, and real servers that take the messages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.notices.after_run import Informed, inform
from runbook_lib.notices.notices_file import Notices
from tests.notices import runs
from tests.notices.receivers import Hook, Mailbox, mail_server, web_hook


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as box:
        yield box


@pytest.fixture
def hook() -> Iterator[Hook]:
    with web_hook() as found:
        yield found


@dataclass
class Desk:
    """An archive, and who gets what about it."""

    archive: Path
    notices: Notices
    environ: dict[str, str]

    def run(self, *rows: runs.Row, **about: Any) -> Informed:
        """Archive a run and inform about it."""
        return self.inform(runs.put(self.archive, *rows, **about))

    def inform(self, bag: Path) -> Informed:
        return inform(bag, self.notices, environ=self.environ)

    def set(self, **settings: Any) -> None:
        """Other settings of the notices file."""
        self.notices = Notices.model_validate(self.notices.model_dump() | settings)


@pytest.fixture
def desk(tmp_path: Path, mailbox: Mailbox, hook: Hook) -> Desk:
    """Dates go to a mailbox, failures to a webhook."""
    notices = Notices.model_validate(
        {
            "recipients": {"pki": ["env:MAIL"], "on-call": ["env:HOOK"]},
            "send": [
                {"to": ["pki"], "states": ["due", "urgent", "expired", "rotated", "disabled"]},
                {"to": ["on-call"], "states": ["failed", "unreachable", "recovered"]},
            ],
        }
    )
    mail = f"mailto://127.0.0.1:{mailbox.port}/?from=runbooks@example.com&to=pki@example.com&mode=insecure"
    environ = {"MAIL": mail, "HOOK": f"json://127.0.0.1:{hook.port}/hook"}
    archive = tmp_path / "archive"
    archive.mkdir()
    return Desk(archive, notices, environ)

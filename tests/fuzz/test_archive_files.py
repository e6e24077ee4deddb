"""The files of an archive, of a credential and of a batch, damaged in any way: told, and never believed silently."""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path

from hypothesis import strategies as st

from runbook_lib.archive import expectation, reader, retention
from runbook_lib.clock import FixedClock
from runbook_lib.fleet.ledger import Ledger
from runbook_lib.lifecycle.journal import Journal, State
from tests.archive import bags
from tests.cli.commands import call
from tests.fuzz.doors import door, fuzz, mutated

NOW = bags.AT + timedelta(days=1)
READ = ("archive head", "archive verify", "archive index", "archive gaps")


@cache
def archive() -> Path:
    """A small one, with a hold and an expectation in its chain."""
    place = Path(tempfile.mkdtemp()) / "archive"
    bags.small(place, signed=False, bags=3)
    file = place.parent / "expected.yaml"
    file.write_text("expected:\n- {job: inventory, from: 2026-11-20, accounts: [a, '0012']}\n")
    expectation.declare(place, file, at=bags.AT, environ={})
    retention.hold_runs(place, retention.Hold("h", None, bags.AT.date(), "because"), at=bags.AT, environ={})
    return place


def files(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file() and one.stat().st_size)


@contextlib.contextmanager
def copied(folder: Path, name: str, content: bytes) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as work:
        copy = Path(work) / "copy"
        shutil.copytree(folder, copy, symlinks=True)
        (copy / name).chmod(0o600)
        (copy / name).write_bytes(content)
        yield copy


damaged = st.deferred(
    lambda: st.sampled_from(files(archive())).flatmap(
        lambda name: st.tuples(st.just(name), mutated((archive() / name).read_bytes()))
    )
)


@fuzz(damaged, examples=80)
def test_an_archive_with_a_damaged_file_is_read_to_its_end(found: tuple[str, bytes]) -> None:
    with copied(archive(), *found) as copy:
        for name in READ:
            with contextlib.redirect_stdout(io.StringIO()):
                door(partial(call, [*name.split(), str(copy)]))
        door(lambda: retention.plan(copy, NOW.date(), at=NOW))
        door(lambda: retention.holds(copy))
        door(lambda: expectation.declarations(copy))
        for one in reader.archived_bags(copy):
            assert one.at.tzinfo is not None
            assert (one.job, one.status, one.seen) is not None


@cache
def credential() -> Path:
    folder = Path(tempfile.mkdtemp()) / "credential"
    folder.mkdir(mode=0o700)
    journal = Journal(folder / "journal.jsonl", FixedClock(datetime(2026, 11, 23, tzinfo=UTC)))
    for number, state in enumerate((State.PLANNED, State.KEY_SEALED, State.POSTED)):
        journal.append(state, 1, name=f"a {number}")
    return folder


@fuzz(st.deferred(lambda: mutated((credential() / "journal.jsonl").read_bytes())), examples=80)
def test_a_damaged_journal_is_read_or_refused(content: bytes) -> None:
    with copied(credential(), "journal.jsonl", content) as copy:
        journal = Journal(copy / "journal.jsonl", FixedClock(NOW))
        door(journal.entries)
        door(journal.last)


LEDGER = b'{"kind": "begun", "batch": "b", "file": "f", "digest": "0"}\n{"kind": "kept", "account": "a"}\n'


@fuzz(mutated(LEDGER))
def test_a_damaged_ledger_is_read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "ledger.jsonl").write_bytes(content)
        door(lambda: Ledger(Path(folder)), also=(OSError,))

"""Disk full, read-only and permission lost at each write: what is in use stays complete, and a later run resumes.

strace answers the k-th call with the error. The library reports a RunbookError with a remedy, or continues.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from runbook_lib.catalogue import Reason
from runbook_lib.credentials.generation import IDENTITY
from runbook_lib.credentials.store import SEALED_KEY
from runbook_lib.lifecycle.issuance import CSR, RESPONSE
from runbook_lib.procedures.issue import Issue
from tests.conftest import Sandbox
from tests.soak import SOAK
from tests.soak.ledger import Grounds, Owner, audit, held
from tests.soak.stories import issue, perform, prepare
from tests.soak.worker import Worker

pytestmark = [pytest.mark.interop, pytest.mark.slow]

ERRORS = ("ENOSPC", "EROFS", "EACCES")
CALLS = "write,fsync,ftruncate,openat,rename,symlink,unlink,mkdir,chmod,fchmod"
SAMPLE, SEED = 12, 6

Point = tuple[str, int, str]


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Grounds:
    return Grounds(sandbox, tmp_path_factory.mktemp("disk"))


@pytest.fixture(scope="module")
def worker(grounds: Grounds) -> Iterator[Worker]:
    worker = Worker()
    worker.warm("issue_and_rotate", "Warm", grounds.owner().environ)
    yield worker
    worker.close()


def points(worker: Worker, grounds: Grounds) -> list[Point]:
    """Every call of a whole undisturbed story that opens or changes a file of the store, or writes to a socket."""
    owner = grounds.owner()
    ended, seen = worker.trace(["-y", "-e", f"trace={CALLS}"], "issue_and_rotate", "Counted", owner.environ)
    assert ended.done, ended
    count, found = Counter[str](), list[Point]()
    for line in seen.splitlines():
        call = re.match(r"\w+(?=\()", line)
        if call is None:
            continue
        count[call[0]] += 1
        # files elsewhere (the system's name service, /proc) are not part of the store
        if call[0] != "openat" or owner.environ["DIGICERT_ONE_STORE"] in line:
            found += [(call[0], count[call[0]], error) for error in ERRORS]
    return found


def in_use_is_whole(owner: Owner, name: str) -> bool:
    """Whether nothing is in use yet, or its P12 opens and holds its key."""
    procedure = prepare(Issue, name, owner.environ)
    current = procedure.credential.current()
    return current is None or current in held(procedure.credential, procedure.session.secret("p12_password")).values()


def fail(worker: Worker, grounds: Grounds, point: Point) -> tuple[str, list[str]]:
    """The reason of the failure, and what was wrong then or after the next run."""
    name, owner = "Disk", grounds.owner()
    call, k, error = point
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:error={error}:when={k}"]
    ended, _ = worker.trace(inject, "issue_and_rotate", name, owner.environ)
    if ended.crash:
        return "crash", [ended.crash]
    wrong = [] if in_use_is_whole(owner, name) else ["what is in use is not whole"]
    if ended.error and not (ended.error["remedy"] and ended.error["what"]):
        wrong.append("no remedy")
    if not ended.done:
        again = worker.run("issue_and_rotate", name, owner.environ)
        if not again.done:
            return ended.reason, [*wrong, f"does not end: {again}"]
    return ended.reason or "went on", wrong + audit(owner, name, kills=1)


def test_a_disk_that_fails_at_any_write_costs_nothing(worker: Worker, grounds: Grounds) -> None:
    chosen = points(worker, grounds)
    assert len(chosen) > 400
    if not SOAK:
        chosen = random.Random(SEED).sample(chosen, SAMPLE)  # noqa: S311 - repeatable is what it has to be
    endings, wrong = Counter[str](), {}
    for point in chosen:
        ending, problems = fail(worker, grounds, point)
        endings[ending] += 1
        if problems:
            wrong[point] = problems
            print(point, ending, *problems, flush=True)
    print(f"failed at {len(chosen)} points: {dict(endings)}")
    assert not wrong


@pytest.mark.parametrize(("file", "called"), [(CSR, CSR), (RESPONSE, RESPONSE), (SEALED_KEY, "sealed key")])
def test_a_file_of_an_issuance_that_cannot_be_read_is_named_and_nothing_is_given_up(
    grounds: Grounds, file: str, called: str
) -> None:
    owner = grounds.owner()
    procedure = prepare(Issue, "Damaged", owner.environ, key_kind="p-256")
    for slug in ("generate-key-and-csr", "request-certificate"):
        assert procedure.perform(slug).error is None
    path = procedure.credential.staging(1) / file
    whole = path.read_bytes()
    path.write_bytes(whole[:50])
    error = perform(prepare(Issue, "Damaged", owner.environ, key_kind="p-256"))
    assert error is not None
    assert error["reason"] == Reason.UNREADABLE_FILE
    assert called in error["what"]
    path.unlink()
    path.mkdir()  # not even root reads a folder as a file
    assert perform(prepare(Issue, "Damaged", owner.environ, key_kind="p-256")) is not None
    path.rmdir()
    path.write_bytes(whole)
    assert [one["enabled"] for one in owner.certificates()] == [True]
    assert perform(prepare(Issue, "Damaged", owner.environ, key_kind="p-256")) is None
    assert audit(owner, "Damaged") == []


def test_a_file_written_by_halves_would_be_seen(grounds: Grounds) -> None:
    owner = grounds.owner()
    assert issue("Halves", owner.environ) is None
    assert in_use_is_whole(owner, "Halves")
    current = owner.credential("Halves").current()
    assert current is not None
    p12 = current.folder / IDENTITY
    p12.chmod(0o600)
    p12.write_bytes(p12.read_bytes()[:100])
    assert not in_use_is_whole(owner, "Halves")

"""Killed at any point and run again: nothing is lost, nothing is left enabled that nobody can use.

strace kills the process at the k-th call of a system call, before that call has an effect. So a kill after an effect is
the kill at the next call. `make test` takes a seeded sample of all points, `make soak` every one.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from runbook_lib.credentials.generation import IDENTITY
from runbook_lib.credentials.store import SEALED_KEY
from runbook_lib.digicert.client import Client
from runbook_lib.digicert.models import CertificateRequest
from runbook_lib.lifecycle.journal import Journal, State
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.rotate import Rotate
from tests.conftest import Sandbox
from tests.soak import SOAK
from tests.soak.ledger import Grounds, Owner, audit
from tests.soak.stories import issue, issue_and_rotate, prepare, rotate
from tests.soak.worker import Worker

pytestmark = [pytest.mark.interop, pytest.mark.slow]

CALLS = (
    "write,writev,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,symlink,symlinkat,unlink,unlinkat,"
    "mkdir,chmod,fchmod,connect,sendto,sendmsg"
)
READS = "read,recvfrom"
"""A kill there is after a request was sent and before its answer was read."""

SAMPLE, SEED = 12, 3
RERUNS = 3

Point = tuple[str, int]


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Grounds:
    return Grounds(sandbox, tmp_path_factory.mktemp("killed"))


@pytest.fixture(scope="module")
def worker(grounds: Grounds) -> Iterator[Worker]:
    worker = Worker()
    worker.warm("issue_and_rotate", "Warm", grounds.owner().environ)
    yield worker
    worker.close()


def points(worker: Worker, grounds: Grounds, calls: str) -> list[Point]:
    """Every call of an undisturbed story, as strace counts them; of reads only those of responses."""
    options = ["-y", "-e", f"trace={calls}"]
    ended, seen = worker.trace(options, "issue_and_rotate", "Counted", grounds.owner().environ)
    assert ended.done, ended
    count, found = Counter[str](), list[Point]()
    for call, rest in re.findall(r"^(\w+)\((.*)", seen, re.MULTILINE):
        count[call] += 1
        if call not in READS.split(",") or "<socket:" in rest or "<TCP" in rest:
            found.append((call, count[call]))
    return found


def kill(worker: Worker, grounds: Grounds, point: Point) -> tuple[bool, State | None, list[str]]:
    """Whether the kill came, the state of the journal then, and what is wrong after the story ran again."""
    name, owner = "Killed", grounds.owner()
    call, k = point
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={k}"]
    ended, _ = worker.trace(inject, "issue_and_rotate", name, owner.environ)
    procedure = prepare(Issue, name, owner.environ)
    last = Journal(owner.credential(name).journal_path, procedure.session.clock).last()
    stood = last.state if last else None
    runs = 0
    while not ended.done:
        if runs == RERUNS or ended.crash:
            return True, stood, [f"does not end: {ended}"]
        ended = worker.run("issue_and_rotate", name, owner.environ)
        runs += 1
    return runs > 0, stood, audit(owner, name, kills=min(runs, 1))


def test_killed_at_any_point_and_run_again_it_ends_well(worker: Worker, grounds: Grounds) -> None:
    chosen = points(worker, grounds, CALLS)
    assert len(chosen) > 200
    if SOAK:
        chosen += points(worker, grounds, READS)
    else:
        chosen = random.Random(SEED).sample(chosen, SAMPLE)  # noqa: S311 - repeatable is what it has to be
    killed, left = Counter[str](), Counter[str]()
    wrong = {}
    for point in chosen:
        came, state, problems = kill(worker, grounds, point)
        killed[point[0]] += came
        left[str(state)] += 1
        if problems:
            wrong[point] = problems
            print(point, state, problems, flush=True)
    print(f"killed at {killed.total()} of {len(chosen)} points: {dict(killed)}; the journal stood at {dict(left)}")
    assert not wrong
    assert killed.total() >= 0.9 * len(chosen)  # a run that makes fewer calls does not reach the last point


# --- points that once went wrong, each by name ------------------------------------------------------------------------


def stop_at(owner: Owner, name: str, kind: type[Issue] | type[Rotate], state: State) -> None:
    """Run up to the step that writes this state, and end right after it is written."""
    given = {"rotate_now": True, "overlap_days": 0} if kind is Rotate else {"key_kind": "p-256"}
    procedure = prepare(kind, name, owner.environ, **given)
    append = Journal.append

    def and_die(self: Journal, written: State, generation: int, **data: str) -> None:
        append(self, written, generation, **data)
        if written is state:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Journal, "append", and_die)
        for step in procedure.steps():
            assert procedure.perform(step.slug).error is None


def test_a_commit_that_was_cut_off_after_it_had_dropped_the_sealed_key_is_finished(grounds: Grounds) -> None:
    owner = grounds.owner()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("runbook_lib.credentials.store.sync_folder", Mock(side_effect=KeyboardInterrupt))
        issue("Cut off", owner.environ)
    staging = owner.credential("Cut off").folder / ".staging-0001"
    assert not (staging / SEALED_KEY).exists()
    assert (staging / IDENTITY).exists()
    assert issue("Cut off", owner.environ) is None
    assert audit(owner, "Cut off") == []


def test_a_rotation_after_an_issuance_that_could_not_say_it_had_ended_makes_a_new_certificate(grounds: Grounds) -> None:
    owner = grounds.owner()
    stop_at(owner, "Not said", Issue, State.VERIFIED)
    credential = owner.credential("Not said")
    credential.make_current(credential.generations()[0])
    assert rotate("Not said", owner.environ) is None
    current = owner.credential("Not said").current()
    assert current is not None
    assert current.number == 2
    assert audit(owner, "Not said") == []


def test_a_rotation_that_ended_between_its_plan_and_its_key_goes_on(grounds: Grounds) -> None:
    owner = grounds.owner()
    assert issue("No key yet", owner.environ) is None
    stop_at(owner, "No key yet", Rotate, State.PLANNED)
    assert rotate("No key yet", owner.environ) is None
    assert audit(owner, "No key yet") == []


def test_an_issuance_run_again_does_not_speak_for_a_rotation_under_way(grounds: Grounds) -> None:
    owner = grounds.owner()
    assert issue("Two at work", owner.environ) is None
    stop_at(owner, "Two at work", Rotate, State.VERIFIED)
    before = owner.credential("Two at work").journal_path.read_text()
    assert issue("Two at work", owner.environ) is None  # nothing to do, and nothing to report
    assert owner.credential("Two at work").journal_path.read_text() == before
    assert rotate("Two at work", owner.environ) is None
    assert audit(owner, "Two at work") == []


# --- the audit can fail -----------------------------------------------------------------------------------------------


def test_the_audit_sees_a_lost_key(grounds: Grounds) -> None:
    owner = grounds.owner()
    assert issue("Lost", owner.environ) is None
    assert audit(owner, "Lost") == []
    current = owner.credential("Lost").current()
    assert current is not None
    (current.folder / IDENTITY).unlink()
    assert "the key of 0001 is lost" in audit(owner, "Lost")
    assert "“Lost” is enabled and nobody has its key" in audit(owner, "Lost")


def test_the_audit_sees_an_orphan_and_a_request_that_no_journal_announced(grounds: Grounds) -> None:
    owner = grounds.owner()
    assert issue_and_rotate("Orphan", owner.environ) is None
    procedure = prepare(Issue, "Another", owner.environ, key_kind="p-256")
    assert procedure.perform("generate-key-and-csr").error is None
    request = (procedure.credential.staging(1) / "request.csr").read_text()
    end = owner.certificates()[-1]["end_date"]
    with Client(procedure.session.environment, api_key=procedure.session.secret("api_key")) as api:
        api.request_certificate(CertificateRequest(csr=request, name="Behind its back", expiration_date=end))
    assert audit(owner, "Orphan") == [
        "“Behind its back” is enabled and nobody has its key",
        "2 certificates are enabled: Orphan 0002, Behind its back",
        "“Behind its back” was posted 1 times, and announced 0 times",
    ]


def test_a_kill_is_seen_as_one(worker: Worker, grounds: Grounds) -> None:
    owner = grounds.owner()
    ended, _ = worker.trace(["-e", "inject=fsync:signal=SIGKILL:when=9"], "issue_and_rotate", "Seen", owner.environ)
    assert ended.killed
    assert audit(owner, "Seen") == ["nothing is in use"]

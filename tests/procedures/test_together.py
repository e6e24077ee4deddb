"""Several processes issue and rotate the same credential at once: one does it, the others name that one."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from collections.abc import Iterator

import pytest

from runbook_lib.catalogue import Reason
from runbook_lib.procedures.rotate import Rotate
from runbook_lib.result import Verdict
from tests.conftest import Sandbox
from tests.soak import SOAK
from tests.soak.ledger import Grounds, Owner, audit
from tests.soak.stories import issue, prepare, rotate
from tests.soak.worker import Ended, Worker

ROUNDS = 25 if SOAK else 2


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Grounds:
    return Grounds(sandbox, tmp_path_factory.mktemp("together"))


@pytest.fixture(scope="module")
def worker(grounds: Grounds) -> Iterator[Worker]:
    worker = Worker()
    worker.warm("issue_and_rotate", "Warm", grounds.owner().environ)
    yield worker
    worker.close()


def all_at_once(worker: Worker, story: str, name: str, owner: Owner, count: int) -> dict[int, Ended]:
    """The same story in several processes, started at the same moment; how each ended, by process id."""
    pids = [worker.start(story, name, owner.environ) for _ in range(count)]
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    return {pid: worker.end(pid) for pid in pids}


@pytest.mark.parametrize("count", [2, 8])
def test_processes_at_once_make_one_certificate_and_the_others_say_who_does(
    worker: Worker, grounds: Grounds, count: int
) -> None:
    endings, named = Counter[str](), 0
    for _ in range(ROUNDS):
        owner = grounds.owner()
        for story, names in (("issue", ["Shared"]), ("rotate", ["Shared", "Shared 0002"])):
            ended = all_at_once(worker, story, "Shared", owner, count)
            for pid, one in ended.items():
                assert not one.crash, one.crash
                endings[f"{story}: {one.reason or 'done'}"] += 1
                named += " by process " in str(one.error)
                if one.error:
                    assert one.reason == Reason.BUSY, one.error
                    holder = re.search(r"by process (\d+) since", one.error["what"])
                    # “another process” if that had ended before its name was looked up
                    assert holder is None or int(holder[1]) in ended.keys() - {pid}, one.error
            if not any(one.done for one in ended.values()):  # each met another in one of its steps
                assert worker.run(story, "Shared", owner.environ).done
            assert [one["name"] for one in owner.certificates()] == names
        assert audit(owner, "Shared") == []
    print(f"{count} at once, {ROUNDS} rounds: {dict(endings)}; {named} named who")
    assert named >= 0.9 * (endings["issue: busy"] + endings["rotate: busy"])
    assert endings["issue: busy"]
    assert endings["rotate: busy"]


def test_two_at_once_without_a_lock_are_seen(
    worker: Worker, grounds: Grounds, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Two stores do not share a lock: the second requests the same name, and the server's response stops it."""
    owner = grounds.owner()
    other = {**owner.environ, "DIGICERT_ONE_STORE": str(tmp_path_factory.mktemp("other"))}
    pids = [worker.start("issue", "Unlocked", environ) for environ in (owner.environ, other)]
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    ended = [worker.end(pid) for pid in pids]
    assert sorted(one.reason for one in ended) == ["", Reason.DUPLICATE_NAME]
    assert owner.posts()["Unlocked"] > 1


def test_a_plan_made_before_another_run_has_rotated_is_not_carried_out(grounds: Grounds) -> None:
    owner = grounds.owner()
    assert issue("Planned twice", owner.environ) is None
    late = prepare(Rotate, "Planned twice", owner.environ, rotate_now=True, overlap_days=0, grace_days=0)
    late.perform("where-it-stands")
    assert rotate("Planned twice", owner.environ) is None
    record = late.perform("issue-beside")
    assert record.verdict is Verdict.NOTHING_TO_DO, record
    assert [one["name"] for one in owner.certificates()] == ["Planned twice", "Planned twice 0002"]

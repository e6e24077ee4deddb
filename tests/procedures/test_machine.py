"""Whatever an operator, a second one, the clock, crashes and faults do in whatever order: what has to hold, holds.

Exempt from “what is in use is let in”: a certificate that the second operator has disabled and
nobody has enabled since (or that was disabled in 03 by naming it in `allow_outage_of`), and one that the clock has
taken past its end. Exempt from “enabled is only what we have a key of”: what 03 was told to enable by name, what the
second operator has enabled (the key may be retired by then), and what is still being asked for. The journal may be one
entry behind what was done where a run has just crashed.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from runbook_lib.clock import iso
from runbook_lib.credentials.certificates import facts
from runbook_lib.credentials.generation import IDENTITY, Generation
from runbook_lib.credentials.store import SEALED_KEY
from runbook_lib.digicert.client import Client, Outcome
from runbook_lib.lifecycle.journal import ISSUANCE, Journal, JournalEntry, State
from runbook_lib.lifecycle.rotation import Stage, replay
from runbook_lib.procedures.access import Access
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.rotate import Rotate
from runbook_lib.procedures.verify import Verify
from runbook_lib.sandbox import start, stop
from tests.conftest import Sandbox, read_env
from tests.soak import SOAK
from tests.soak.ledger import Grounds, Owner
from tests.soak.stories import prepare

pytestmark = pytest.mark.slow

NAME = "Machine"
GRACE = timedelta(days=7)
STEPS, EXAMPLES = (40, 100) if SOAK else (20, 4)


class Crash(BaseException):
    """The process has ended."""


FAULTS: list[list[dict[str, Any]]] = [
    [{"fault": "drop_after", "method": "POST", "nth": 1}],
    [{"fault": "drop_after", "method": "PUT", "first": 2}],
    [{"fault": "truncated", "method": "POST", "first": 2}],
    [{"fault": "internal_server_error", "method": "POST", "first": 9}],
    [{"fault": "other_key"}],
    [{"fault": "wrong_eku"}, {"fault": "drop_after", "method": "PUT", "nth": 1}],
    [{"fault": "no_ca_cert"}],
    [{"fault": "drop_after", "method": "POST", "nth": 1}, {"fault": "late_in_list", "lag": 5}],
    [{"fault": "slow_enable", "lag": 7}],
    [{"fault": "html_page", "method": "GET", "probability": 0.3}],
    [{"fault": "drop_before", "probability": 0.4}],
    [{"fault": "service_unavailable", "method": "PUT", "effect": True}],
    [{"fault": "clock_skew", "seconds": 7200}],
]

weathers = st.one_of(
    st.none(),
    st.tuples(st.just("crash"), st.integers(1, 45)),
    st.tuples(st.just("fault"), st.sampled_from(FAULTS)),
)


@contextmanager
def crashing(at: int) -> Iterator[None]:
    """The process ends at its n-th fsync; all durable changes happen before or after one."""
    fsync, count = os.fsync, 0

    def counted(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Crash
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", counted)
        yield


class Life(RuleBasedStateMachine):
    """The life of one credential."""

    grounds: ClassVar[Grounds]
    seen: ClassVar[Counter[str]]

    owner: Owner
    now: datetime

    # --- beginning and end --------------------------------------------------------------------------------------------

    @initialize(weather=weathers)
    def begin(self, weather: Any) -> None:
        self.owner = self.grounds.owner()
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.taken: set[str] = set()
        self.asked_for: set[str] = set()
        self.kept: set[int] = set()
        self._set_clock()
        self.issue(weather)

    def _set_clock(self) -> None:
        self.owner.sandbox.admin("PUT", "/clock", {"now": iso(self.now)})

    # --- the operator -------------------------------------------------------------------------------------------------

    @rule(weather=weathers)
    def issue(self, weather: Any) -> None:
        self._run(Issue, weather, key_kind="p-256")

    @rule(weather=weathers, now=st.booleans(), overlap=st.sampled_from([0, 1]))
    def rotate(self, weather: Any, now: bool, overlap: int) -> None:
        self._run(Rotate, weather, rotate_now=now, overlap_days=overlap)

    @rule(weather=weathers)
    def roll_back(self, weather: Any) -> None:
        self._run(Rotate, weather, action="roll back")

    @rule()
    def verify(self) -> None:
        self._run(Verify, None)

    @rule(steps=st.integers(1, 9), kind=st.sampled_from([Issue, Rotate]))
    def stop_after_some_steps(self, steps: int, kind: Any) -> None:
        given = {"key_kind": "p-256"} if kind is Issue else {"rotate_now": True, "overlap_days": 0}
        self._run(kind, None, steps=steps, **given)

    @rule(allowed=st.booleans(), action=st.sampled_from(["disable", "enable", "disable and re-enable"]))
    def change_access(self, allowed: bool, action: str) -> None:
        self._run(Access, None, action=action, allow_outage_of=NAME if allowed else "")
        current = self._current()
        if allowed and current is not None and not self._listed(current)["enabled"]:
            self.taken.add(current.meta.id or "")
        if current is None and action == "enable":  # by name, although its key is not in this store: 03 says so
            self.asked_for |= {one["id"] for one in self.owner.certificates() if one["enabled"]}

    @rule(kind=st.sampled_from([Issue, Rotate]))
    def come_while_another_has_it(self, kind: Any) -> None:
        with self.owner.credential(NAME).lock():
            error = self._run(kind, None, **({"rotate_now": True} if kind is Rotate else {}))
        in_use_already = kind is Issue and self._current() is not None
        assert error is not None and (error["reason"] == "busy" or in_use_already), error

    # --- the second operator and the clock ----------------------------------------------------------------------------

    # Draws must not depend on timing between server, process and clock: hypothesis replays them.

    @rule(which=st.integers(0, 9))
    def somebody_else_disables_or_enables(self, which: int) -> None:
        known = [self._listed(one) for one in self.owner.credential(NAME).generations()]
        if known:
            one = known[which % len(known)]
            self._set_enabled(one["id"], not one["enabled"])

    @rule()
    def somebody_else_gives_back(self) -> None:
        for one in sorted(self.taken):
            self._set_enabled(one, True)

    def _set_enabled(self, certificate_id: str, enabled: bool) -> None:
        procedure = prepare(Issue, NAME, self.owner.environ)
        with Client(procedure.session.environment, api_key=procedure.session.secret("api_key")) as api:
            api.set_enabled(certificate_id, enabled)
        (self.taken.discard if enabled else self.taken.add)(certificate_id)
        (self.asked_for.add if enabled else self.asked_for.discard)(certificate_id)

    @rule(hours=st.sampled_from([5, 25, 25, 8 * 24, 8 * 24, 30 * 24, 345 * 24]))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)
        self._set_clock()

    # --- how a run goes -----------------------------------------------------------------------------------------------

    def _run(self, kind: Any, weather: Any, *, steps: int = 99, **given: Any) -> dict[str, Any] | None:
        procedure = prepare(kind, NAME, self.owner.environ, clock=iso(self.now), **given)
        error = None
        with ExitStack() as stack:
            if weather and weather[0] == "crash":
                stack.enter_context(crashing(weather[1]))
            if weather and weather[0] == "fault":
                self.owner.sandbox.admin("PUT", "/faults", {"seed": 1, "rules": weather[1]})
            try:
                for step in procedure.steps()[:steps]:
                    error = procedure.perform(step.slug).error
                    if error is not None:
                        break
            except Crash:
                self.seen["crashed"] += 1
        if weather and weather[0] == "fault":
            self.owner.sandbox.admin("DELETE", "/faults")
        self.seen["runs"] += 1
        if error is not None:
            assert error["what"], error
            assert error["remedy"], error
            self.seen[error["reason"]] += 1
        return error

    # --- what has to hold ---------------------------------------------------------------------------------------------

    def _current(self) -> Generation | None:
        return self.owner.credential(NAME).current()

    def _listed(self, generation: Generation) -> dict[str, Any]:
        serial = facts(generation.certificate()).serial
        return next(one for one in self.owner.certificates() if int(one["serial_number"], 16) == serial)

    @property
    def _entries(self) -> list[JournalEntry]:
        return Journal(
            self.owner.credential(NAME).journal_path, prepare(Issue, NAME, self.owner.environ).session.clock
        ).entries()

    @invariant()
    def every_key_is_there_and_matches(self) -> None:
        self.seen["checked"] += 1
        procedure = prepare(Issue, NAME, self.owner.environ)
        held = set()
        for generation in procedure.credential.generations():
            identity = generation.open(procedure.session.secret("p12_password"))
            assert identity.key.public_key() == identity.certificate.public_key()
            held.add(facts(identity.certificate).serial)
        pending = self._pending_name()
        for one in self.owner.certificates():
            if one["enabled"] and int(one["serial_number"], 16) not in held and one["id"] not in self.asked_for:
                assert one["name"] == pending, f"{one['name']} is enabled, and nobody has its key"

    def _pending_name(self) -> str | None:
        """The name that was requested and whose outcome is still unknown."""
        last = next((one for one in reversed(self._entries) if one.state in _ISSUING or one.state in _SETTLED), None)
        if last is None or last.state in _SETTLED:
            return None
        posted = [one for one in self._entries if one.state is State.POSTED and one.generation == last.generation]
        return posted[-1].data["name"] if posted else None

    @invariant()
    def what_is_in_use_is_let_in(self) -> None:
        current = self._current()
        if current is None:
            assert not any(one.state is State.CURRENT for one in self._entries)
            return
        meta = current.meta
        if meta.id in self.taken or meta.not_after <= self.now:
            self.seen["exempt"] += 1
            return
        self._set_clock()
        procedure = prepare(Issue, NAME, self.owner.environ)
        with procedure.session.mtls(current.open(procedure.session.secret("p12_password"))) as client:
            probe = client.probe()
        assert probe.outcome is Outcome.ACCEPTED, f"{current} in use: {probe.seen}"

    @invariant()
    def nothing_is_deleted_in_grace(self) -> None:
        credential = self.owner.credential(NAME)
        there = {one.number for one in credential.generations() if (one.folder / IDENTITY).exists()}
        for number in self.kept - there:
            refused = None
            for entry in self._entries:
                if entry.state is State.ROTATION_BEGUN:
                    old = entry.generation
                elif entry.state is State.OLD_REFUSED and old == number:
                    refused = entry.at
            assert refused is not None, f"{number:04d} was deleted and never refused"
            assert self.now >= refused + GRACE, f"{number:04d} was deleted in its grace"
        self.kept = there

    @invariant()
    def the_journal_tells_the_state(self) -> None:
        credential, entries = self.owner.credential(NAME), self._entries
        current = credential.current()
        rotation = replay(entries)
        journalled: int | None = None
        for entry in entries:
            if entry.state is State.CURRENT:
                journalled = entry.generation
            elif entry.state is State.ROLLED_BACK:
                journalled = next(
                    one.generation for one in reversed(entries[: entry.seq]) if one.state is State.ROTATION_BEGUN
                )
        number = current.number if current else None
        switching = {journalled}
        # interrupted between the switch and its entry; 03 may have written entries since
        last = next((one for one in reversed(entries) if one.state in ISSUANCE), None)
        if rotation is None and last is not None and last.state is State.VERIFIED:
            switching.add(last.generation)
        if rotation is not None and rotation.stage in (Stage.TESTED, Stage.ROLLING_BACK):
            switching |= {rotation.old, rotation.new or rotation.old}
        assert number in switching, f"`current` is {number}, the journal says {journalled}"
        bundled = {one.generation for one in entries if one.state is State.BUNDLED}
        linted = {one.generation for one in entries if one.state is State.LINTED}
        committed = {one.number for one in credential.generations()}
        gone = {one for one in bundled if credential.is_retired(one)}
        assert bundled - gone <= committed <= linted, (bundled, gone, committed, linted)
        retired = {entry.generation for entry in entries if entry.state is State.RETIRED}
        assert len(gone) - len(retired) in (0, 1), "a key was deleted, and the journal does not say so"

    @invariant()
    def no_secret_is_outside_the_p12(self) -> None:
        procedure = prepare(Issue, NAME, self.owner.environ)
        secret = procedure.session.secret("p12_password")
        patterns = [
            secret.reveal().encode(),
            procedure.session.secret("api_key").reveal().encode(),
            b"BEGIN PRIVATE",
            b"BEGIN EC",
        ]
        for generation in procedure.credential.generations():
            value = generation.open(secret).key.private_numbers().private_value
            patterns += [value.to_bytes(32, "big"), f"{value:064x}".encode(), f"{value:064X}".encode()]
        for path in procedure.session.store.root.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.name != IDENTITY:
                content = path.read_bytes()
                assert not [one for one in patterns if one in content], path
                assert b"PRIVATE KEY" not in content or path.name.startswith((SEALED_KEY, f".{SEALED_KEY}")), path


_SETTLED = (State.BUNDLED, State.VERIFIED, State.CURRENT, State.ABANDONED, State.PLANNED)
_ISSUING = (State.KEY_SEALED, State.POSTED, State.AMBIGUOUS, State.RECONCILED, State.RECEIVED, State.LINTED)


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    folder = tmp_path_factory.mktemp("machine")
    yield Grounds(Sandbox(folder / "state", read_env(start(folder / "state"))), folder / "stores")
    stop(folder / "state")


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    sleep = time.sleep
    monkeypatch.setattr("urllib3.util.retry.time.sleep", lambda seconds: sleep(min(seconds, 0.01)))


@pytest.mark.usefixtures("short_waits")
def test_whatever_happens_what_has_to_hold_holds(grounds: Grounds) -> None:
    Life.grounds, Life.seen = grounds, Counter()
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=not SOAK,
            database=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=[Phase.generate],  # shrinking would take longer than the test may
        ),
    )
    print(dict(Life.seen))
    assert Life.seen["checked"] > EXAMPLES * STEPS / 2


# --- the invariants can fail ------------------------------------------------------------------------------------------


@pytest.fixture
def life(grounds: Grounds) -> Life:
    """In the middle of a rotation: both certificates are enabled, the new one is in use."""
    Life.grounds, Life.seen = grounds, Counter()
    life = Life()
    life.begin(None)
    life.time_passes(340 * 24)
    life.rotate(None, False, 1)
    hold(life)
    current = life._current()
    assert current is not None
    assert current.number == 2
    return life


def hold(life: Life) -> None:
    life.every_key_is_there_and_matches()
    life.what_is_in_use_is_let_in()
    life.nothing_is_deleted_in_grace()
    life.the_journal_tells_the_state()
    life.no_secret_is_outside_the_p12()


def fails(life: Life, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        hold(life)


def test_a_key_deleted_in_grace_is_seen(life: Life) -> None:
    credential = life.owner.credential(NAME)
    life.time_passes(25)
    life.rotate(None, False, 1)
    hold(life)
    credential.retire(credential.generations()[0])
    fails(life, "in its grace")


def test_what_is_in_use_disabled_by_nobody_known_is_seen(life: Life) -> None:
    current = life._current()
    assert current is not None
    life._set_enabled(current.meta.id or "", False)
    hold(life)  # the second operator did it
    life.taken.clear()
    fails(life, "in use")


def test_current_moved_behind_the_journals_back_is_seen(life: Life) -> None:
    credential = life.owner.credential(NAME)
    credential.make_current(credential.generations()[0])
    fails(life, "the journal says 2")


def test_a_password_written_beside_the_p12_is_seen(life: Life) -> None:
    password = prepare(Issue, NAME, life.owner.environ).session.secret("p12_password").reveal()
    (life.owner.credential(NAME).folder / "note.txt").write_text(f"it is {password}")
    fails(life, "note.txt")


def test_an_orphan_is_seen(life: Life) -> None:
    shutil.rmtree(life.owner.credential(NAME).folder / "0001")
    fails(life, "nobody has its key")

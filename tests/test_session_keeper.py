"""Clicked sessions: what a person does at a notebook's buttons is archived like what a scheduler runs."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any

import psutil
import pytest
from bs4 import BeautifulSoup

from runbook_lib.archive import chain, expectation
from runbook_lib.archive.verify import verify_archive
from runbook_lib.clock import SystemClock
from runbook_lib.runner import run_notebook
from tests.archive import bags
from tests.clicking import WALK, Hand, opened
from tests.conftest import Sandbox
from tests.procedures.conftest import issue
from tests.soak import SOAK

pytestmark = pytest.mark.slow

SECONDS = 60


@pytest.fixture
def environ(sandbox: Sandbox, tmp_path: Path) -> dict[str, str]:
    """A store and an archive of this test's own."""
    return {
        **sandbox.env,
        "DIGICERT_ONE_STORE": str(tmp_path / "store"),
        "DIGICERT_ONE_ARCHIVE": str(tmp_path / "archive"),
    }


@pytest.fixture
def archive(environ: dict[str, str]) -> Path:
    return Path(environ["DIGICERT_ONE_ARCHIVE"])


def bags_of(archive: Path) -> list[Path]:
    return sorted(chain.bags(archive)) if archive.is_dir() else []


def record(bag: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bag / "data/run.json").read_text())
    return found


def wait_for(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + SECONDS
    while not (value := found()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return value


def whole(archive: Path) -> bool:
    """Whether the archive verifies, and no session is left over."""
    staging = archive / chain.STAGING
    return not verify_archive(archive).findings and not list(staging.iterdir())


def everything(archive: Path) -> bytes:
    return b"".join(path.read_bytes() for path in archive.rglob("*") if path.is_file())


def access(hand: Hand, name: str, **more: Any) -> None:
    hand.run_all()
    hand.start(name=name, allow_outage_of=name, **more)


def test_a_clicked_disable_and_enable_leave_a_bag(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    issue(sandbox, "Clicked", environ)
    with opened("03_access", tmp_path / "desk", environ) as hand:
        access(hand, "Clicked")
        hand.press(*WALK["03_access"])
        (bag,) = bags_of(archive)
        assert hand.bag == bag
    told = record(bag)
    assert (told["status"], told["mode"], told["job"], told["exit"]) == ("done", "interactive", "access", 0)
    assert [step["slug"] for step in told["steps"]] == list(WALK["03_access"])
    assert [click["step"] for click in told["clicks"]] == list(WALK["03_access"])
    assert all(click["verdict"] == "ok" for click in told["clicks"])
    assert told["parameters"] == {"name": "Clicked", "allow_outage_of": "Clicked"}
    assert {"run.ipynb", "report.html", "run.json"} <= {path.name for path in (bag / "data").iterdir()}
    assert (bag / "data/tables/clicks.csv").read_text().count("\n") == 6
    assert sandbox.api_key.encode() not in everything(archive)
    assert whole(archive)


def test_a_session_that_only_looked_leaves_nothing_unless_the_person_asks(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    issue(sandbox, "Looked at", environ)
    with opened("03_access", tmp_path / "desk", environ) as hand:
        access(hand, "Looked at")
        hand.press("prove-access")
        hand.change_values()
        assert bags_of(archive) == []
        hand.start()
        hand.press("prove-access")
        hand.archive()
        (bag,) = bags_of(archive)
    assert record(bag)["status"] == "interrupted"
    assert "The session ended after “Prove the current state”: the person archived it." in record(bag)["error"]["what"]
    assert whole(archive)


def test_a_killed_kernel_leaves_an_interrupted_session_sealed_once(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    issue(sandbox, "Killed kernel", environ)
    with opened("03_access", tmp_path / "desk", environ) as hand:
        access(hand, "Killed kernel")
        hand.press("prove-access", "disable")
        hand.kill()
        (bag,) = wait_for(lambda: bags_of(archive))
    assert record(bag)["status"] == "interrupted"
    assert "after “Disable the certificate”: the kernel ended" in record(bag)["error"]["what"]
    wait_for(lambda: whole(archive))


def test_if_the_keeper_is_killed_too_the_next_session_seals_what_is_known(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    issue(sandbox, "Machine down", environ)
    with opened("03_access", tmp_path / "desk", environ) as hand:
        access(hand, "Machine down")
        hand.press("prove-access", "disable")
        keeper = psutil.Process(hand.keeper)
        keeper.kill()
        hand.kill()
        keeper.wait(SECONDS)
    assert bags_of(archive) == []
    with opened("03_access", tmp_path / "desk", environ) as hand:
        access(hand, "Machine down", action="enable")
        hand.press(*WALK["03_access"])
    killed, after = bags_of(archive)
    assert [step["slug"] for step in record(killed)["steps"]] == ["prove-access", "disable"]
    assert record(killed)["status"] == "interrupted"
    assert record(after)["status"] == "done"
    assert "Disable the certificate" in (killed / "data/report.html").read_text()
    assert whole(archive)


# --- secrets ----------------------------------------------------------------------------------------------------------

CANARY = "canary4f1aZq93xwK7secret77abcd"


def test_a_secret_typed_pasted_and_printed_is_in_no_archived_byte(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    issue(sandbox, "Canary", environ)
    key = sandbox.api_key
    environ.pop("DIGICERT_ONE_API_KEY")
    with opened("03_access", tmp_path / "desk", environ) as hand:
        hand.run_all()
        hand.fill(api_key="prompt:")
        hand.type_secret("api_key", key)
        hand.start(name="Canary", allow_outage_of="Canary")
        hand.run(f"print({key[:20]!r} + {key[20:]!r})")
        hand.press("prove-access", "disable")
        assert key.encode() not in everything(archive)  # not even before it is sealed
        hand.press("prove-refused", "enable", "prove-restored")
        (bag,) = bags_of(archive)
        assert "withheld" in hand.panel
    assert record(bag)["status"] == "withheld"
    assert "prompt:API key in run.ipynb" in record(bag)["error"]["what"]
    assert not (bag / "data/run.ipynb").exists()
    assert key.encode() not in everything(archive)
    assert whole(archive)


def test_a_secret_pasted_into_a_text_field_is_in_no_archived_byte_even_after_a_crash(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    with opened("01_issue", tmp_path / "desk", environ) as hand:
        hand.run_all()
        hand.fill(p12_password="prompt:")
        hand.type_secret("p12_password", CANARY)
        hand.start(name="Pasted", organization=CANARY, key_kind="p-256")
        hand.press("generate-key-and-csr")
        keeper = psutil.Process(hand.keeper)
        keeper.kill()
        wait_for(lambda: keeper.status() == psutil.STATUS_ZOMBIE)
        assert CANARY.encode() not in everything(archive)
        hand.press("request-certificate")  # another keeper seals what the first one left, when it seals its own
        hand.archive()
    assert [record(bag)["status"] for bag in bags_of(archive)] == ["withheld", "withheld"]
    assert CANARY.encode() not in everything(archive)
    assert whole(archive)


def test_what_the_person_added_is_marked_as_theirs(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    issue(sandbox, "Added", environ)
    with opened("03_access", tmp_path / "desk", environ) as hand:
        access(hand, "Added")
        hand.press("prove-access", "disable")
        hand.run("import sys; print('my own note'); print('to stderr', file=sys.stderr); 6 * 7")
        hand.run("1 / 0")
        hand.archive()
        (bag,) = bags_of(archive)
    cells = json.loads((bag / "data/run.ipynb").read_text())["cells"]
    added = [cell for cell in cells if "added-by-user" in cell["metadata"].get("tags", [])]
    assert ["".join(cell["source"]) for cell in added][1:] == ["1 / 0"]
    kinds = [output["output_type"] for output in added[0]["outputs"]]
    assert sorted(kinds) == ["execute_result", "stream", "stream"]
    assert "".join(added[1]["outputs"][0]["ename"]) == "ZeroDivisionError"
    page = (bag / "data/report.html").read_text()
    assert page.count("Added by the person at the notebook") == 2
    assert "my own note" in page


# --- what closes a session --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["an earlier form", "other values", "a restarted kernel", "a refused form"])
def test_what_retires_a_button_closes_its_session(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path, how: str
):
    name = f"Retired by {how}"
    issue(sandbox, name, environ)
    setup = "from runbook_lib.procedures.access import Access\nfrom runbook_lib.widgets import Runbook\n\n"
    with opened("03_access", tmp_path / "desk", environ) as hand:
        access(hand, name)
        hand.press("prove-access", "disable")
        match how:
            case "an earlier form":
                hand.run(f"{setup}runbook = Runbook(Access, globals())")
            case "other values":
                hand.change_values()
            case "a restarted kernel":
                hand.manager.restart_kernel(now=True)
            case "a refused form":
                hand.run(f"{setup}runbook = Runbook(Access, {{'action': 'explode'}})")
        (bag,) = wait_for(lambda: bags_of(archive))
    why = {
        "an earlier form": "a newer form replaced this one",
        "other values": "the values were changed",
        "a restarted kernel": "the kernel ended",
        "a refused form": "a newer form replaced this one",
    }[how]
    assert record(bag)["status"] == "interrupted"
    assert f"The session ended after “Disable the certificate”: {why}." in record(bag)["error"]["what"]
    wait_for(lambda: whole(archive))


def test_a_failed_step_is_recorded_as_failed_and_one_more_try_begins_nothing_new(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    issue(sandbox, "Failed step", environ)
    with opened("03_access", tmp_path / "desk", environ) as hand:
        hand.run_all()
        hand.start(name="Failed step")  # without the agreement to an outage
        hand.press("prove-access", "disable", "disable")
        hand.archive()
        (bag,) = bags_of(archive)
    told = record(bag)
    assert (told["status"], told["error"]["reason"]) == ("failed", "certificate_in_use")
    assert [click["verdict"] for click in told["clicks"]] == ["ok", "failed", "failed"]


# --- a policy that asks for a ticket ----------------------------------------------------------------------------------


def test_a_change_without_the_ticket_that_the_policy_requires_is_refused_before_any_request(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    issue(sandbox, "Ticket", environ)
    policy = tmp_path / "policy.yaml"
    policy.write_text("expected: []\nrequire_ticket: [sandbox]\n")
    archive.mkdir()
    expectation.declare(archive, policy, at=SystemClock().now(), environ=environ)
    before = len(sandbox.admin("GET", "/requests"))
    with opened("03_access", tmp_path / "desk", environ) as hand:
        access(hand, "Ticket")
        assert "requires a ticket" in hand.evaluate("runbook._way._parameters._shown['text/plain']")
        assert hand.evaluate("runbook._way._cells['prove-access'].button.disabled")
        assert len(sandbox.admin("GET", "/requests")) == before
        hand.start(ticket="CHG-7", approved_by="Ann")
        hand.press(*WALK["03_access"])
        (bag,) = [bag for bag in bags_of(archive) if bag.name.endswith("-access")]
    assert (record(bag)["ticket"], record(bag)["approved_by"]) == ("CHG-7", "Ann")
    assert record(bag)["status"] == "done"


# --- an archive that cannot be written --------------------------------------------------------------------------------


def test_without_an_archive_a_change_waits_until_the_person_agrees(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    issue(sandbox, "No evidence", environ)
    archive.write_text("a file is in the way")
    with opened("03_access", tmp_path / "desk", environ) as hand:
        access(hand, "No evidence")
        hand.press("prove-access")
        cell = "runbook._way._cells['disable']"
        wait_for(lambda: "cannot be archived" in hand.evaluate(f"{cell}.button.description"))
        assert hand.evaluate(f"{cell}.button.disabled")
        hand.send(f"{cell}.button", {"method": "custom", "content": {"event": "click"}})
        assert not (tmp_path / "store/changes-without-evidence.jsonl").exists()
        hand.send(f"{cell}.agree", {"method": "update", "state": {"value": True}})
        hand.press("disable")
        (line,) = (tmp_path / "store/changes-without-evidence.jsonl").read_text().splitlines()
        assert json.loads(line)["step"] == "disable"
        archive.unlink()  # and the archive is back
        hand.press("prove-refused", "enable", "prove-restored")
        (bag,) = bags_of(archive)
    assert [click["without_evidence"] for click in record(bag)["clicks"]] == [False, True, False, False, False]
    assert record(bag)["status"] == "done"
    assert whole(archive)


# --- the same as a headless run ---------------------------------------------------------------------------------------


def steps_of(told: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in step.items() if name not in ("started", "finished")} for step in told["steps"]
    ]


def shown_in(bag: Path) -> list[tuple[str, list[list[str]]]]:
    """The outputs of the notebook's own cells, without what differs from one run to the next."""
    nb = json.loads((bag / "data/run.ipynb").read_text())
    cells = [cell for cell in nb["cells"] if cell["cell_type"] == "code" and cell["id"] in STEP_CELLS]
    return [(cell["id"], [sorted(output["data"]) for output in cell["outputs"]]) for cell in cells]


STEP_CELLS = {"setup", *WALK["03_access"], "finish"}


def test_a_clicked_session_and_a_headless_run_give_the_same(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path
):
    issue(sandbox, "Same", environ)
    with opened("03_access", tmp_path / "desk", environ) as hand:
        access(hand, "Same")
        hand.press(*WALK["03_access"])
    given = {"mode": "headless", "name": "Same", "confirm": "Same", "allow_outage_of": "Same"}
    notebook = tmp_path / "desk/03_access.ipynb"
    run_notebook(notebook, given, job="access", archive=archive, clock=SystemClock(), environ={**os.environ, **environ})
    clicked, run = bags_of(archive)
    assert [record(bag)["mode"] for bag in (clicked, run)] == ["interactive", "headless"]
    same = (
        "job",
        "status",
        "verdict",
        "exit",
        "error",
        "needs_action",
        "notebook",
        "who",
        "target",
        "next",
        "progress",
    )
    for name in same:
        assert record(clicked)[name] == record(run)[name], name
    assert without_times(steps_of(record(clicked))) == without_times(steps_of(record(run)))
    assert shown_in(clicked) == shown_in(run)
    tables = {path.name for path in (run / "data/tables").iterdir()}
    assert {path.name for path in (clicked / "data/tables").iterdir()} == tables | {"clicks.csv"}
    for table in tables:
        pair = [(bag / "data/tables" / table).read_text() for bag in (clicked, run)]
        assert without_times(pair[0]) == without_times(pair[1])
    pages = [report_of(bag) for bag in (clicked, run)]
    assert pages[0] == pages[1]


def without_times(value: Any) -> str:
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\b\d+\.\d s\b", "…", json.dumps(value))


def report_of(bag: Path) -> list[Any]:
    """What each step shows in report.html, as text."""
    soup = BeautifulSoup((bag / "data/report.html").read_text(), "html.parser")
    results = [section.get_text(" ", strip=True) for section in soup.select('section[aria-label^="Result: "]')]
    assert len(results) == len(WALK["03_access"])
    return [re.sub(r"\d{1,2}:\d\d(:\d\d)?|\b\d+\.\d s\b", "…", text) for text in results]


# --- many at once, and killed at any moment ---------------------------------------------------------------------------


def test_two_people_on_one_archive_at_once(sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path):
    sessions = 20 if SOAK else 3
    names = ("Ann", "Bob")
    for name in names:
        issue(sandbox, name, environ)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as people:
        desks = [tmp_path / name for name in names]
        list(people.map(many_sessions, names, [sessions] * 2, [environ] * 2, desks))
    sealed = bags_of(archive)
    assert Counter(record(bag)["parameters"]["name"] for bag in sealed) == dict.fromkeys(names, sessions)
    assert {record(bag)["status"] for bag in sealed} == {"done"}
    assert all(record(bag)["who"]["user"] == record(bag)["parameters"]["name"] for bag in sealed)
    assert len({record(bag)["run"] for bag in sealed}) == 2 * sessions
    assert whole(archive)  # which checks that the chain is a line


def many_sessions(name: str, sessions: int, environ: dict[str, str], desk: Path) -> None:
    with opened("03_access", desk, {**environ, "JUPYTERHUB_USER": name}) as hand:
        access(hand, name)
        for number in range(sessions):
            if number:
                hand.change_values()
                hand.start()
            hand.press(*WALK["03_access"])


def end(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):  # a session that is done needs its keeper no more
        process.kill()


@pytest.mark.parametrize("number", range(50 if SOAK else 3))
def test_a_kernel_killed_at_a_random_moment_leaves_no_change_without_a_bag(
    sandbox: Sandbox, environ: dict[str, str], archive: Path, tmp_path: Path, number: int
):
    chance = random.Random(number)  # noqa: S311 - repeatable is what it has to be
    notebook = ("01_issue", "03_access", "05_rotate")[number % 3]
    name = f"Random {notebook} {number}"
    if notebook != "01_issue":
        issue(sandbox, name, environ)
    before = len(sandbox.admin("GET", "/requests"))
    values: dict[str, Any] = {"name": name}
    more: dict[str, dict[str, Any]] = {
        "01_issue": {"key_kind": "p-256"},
        "03_access": {"allow_outage_of": name},
        "05_rotate": {"rotate_now": True, "overlap_days": 0, "grace_days": 0},
    }
    values |= more[notebook]
    with opened(notebook, tmp_path / "desk", environ) as hand:
        hand.run_all()
        hand.start(**values)
        keeper = psutil.Process(hand.keeper)
        hand.press(WALK[notebook][0])
        killer = Timer(chance.uniform(0, 6), hand.kill)
        killer.start()
        also = Timer(killer.interval, end, [keeper]) if number % 4 == 2 else None
        if also is not None:
            also.start()
        with suppress(RuntimeError):  # the kernel is gone
            hand.press(*WALK[notebook][1:])
        killer.join()
        with suppress(psutil.NoSuchProcess):
            keeper.wait(SECONDS)
    requests = sandbox.admin("GET", "/requests")[before:]
    changed = [request for request in requests if request["method"] in ("POST", "PUT")]
    bags.put(archive)  # whatever comes next
    killed = [bag for bag in bags_of(archive) if not bag.name.endswith("-demo")]
    ended = [(record(bag)["status"], len(record(bag)["clicks"])) for bag in killed]
    print(
        f"{notebook}, both killed: {also is not None}: {len(changed)} requests that change, sealed as {ended}",
        flush=True,
    )
    assert len(killed) <= 1
    assert killed or not changed
    for bag in killed:
        told = record(bag)
        assert told["mode"] == "interactive"
        assert told["status"] == ("interrupted" if len(told["steps"]) < len(WALK[notebook]) else "done")
    assert whole(archive)

"""What a clicked session says it was, from the messages of its notebook alone."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import nbformat
import pytest

from runbook_lib.procedures.parameters import intake
from runbook_lib.reports.clicked_session import NOTEBOOK, SESSION, ClickedSession, as_line, produce_left_over
from runbook_lib.reports.runrecord import Started
from runbook_lib.reports.scan import Scanner
from runbook_lib.result import MIME, StepRecord, Verdict
from runbook_lib.session_messages import Begin, Close, Did, Pressed, StepOf
from tests.archive import bags
from tests.archive.bags import AT
from tests.widgets.toy import Toy

SECRET = "a-secret-of-this-test-0815-xyz"


@pytest.fixture
def toy(tmp_path: Path) -> Toy:
    environ = {"DIGICERT_ONE_URL": "https://localhost:1", "DIGICERT_ONE_CLIENTAUTH_URL": "https://localhost:2"}
    environ |= {"DIGICERT_ONE_P12_PASSWORD": "correcthorsebatterystaple0123456789"}
    parameters, _ = intake(Toy.model, {"mode": "headless", "name": "Wall", "confirm": "Wall"})
    return Toy(parameters, environ=environ)


def bundle(record: Any) -> dict[str, Any]:
    return {"text/plain": "…", MIME: record.model_dump(mode="json")}


def begin(toy: Toy, **more: Any) -> Begin:
    steps = tuple(StepOf(slug=step.slug, title=step.title, kind=step.kind) for step in toy.steps())
    shown = (bundle(toy.begin(())),)
    known: dict[str, Any] = {"job": "toy", "notebook": "toy", "file": "", "tables": "tables", "cell": "Runbook()"}
    return Begin(**{**known, "parameters": {"name": "Wall"}, "steps": steps, "shown": shown, **more})


def did(toy: Toy, step: str) -> Did:
    record: StepRecord = toy.perform(step)
    summary = bundle(toy.finish())
    return Did(step=step, cell=f"step({step})", shown=bundle(record), last_cell="finish()", summary=summary)


def started() -> Started:
    return bags.started("toy").model_copy(update={"mode": "interactive"})


def session(toy: Toy, *messages: Pressed | Did | Close) -> ClickedSession:
    found = ClickedSession(started(), begin(toy), AT)
    for number, message in enumerate(messages):
        found.take(message, AT + timedelta(seconds=number))
    return found


def test_every_step_done_is_done_with_the_notebook_s_own_verdict(toy: Toy):
    found = session(
        toy, *(message for step in toy.steps() for message in (Pressed(step=step.slug), did(toy, step.slug)))
    )
    judged = found.judge(())
    assert (judged.status, judged.verdict, judged.exit) == ("done", Verdict.ATTENTION, 0)
    assert [click.verdict for click in found.clicks] == ["ok", "ok", "attention"]


def test_a_press_without_a_record_has_an_unknown_outcome(toy: Toy):
    found = session(toy, Pressed(step="look"), did(toy, "look"), Pressed(step="paint"), Close(why="the kernel ended"))
    judged = found.judge(())
    assert judged.status == "interrupted"
    assert judged.error
    assert "“Paint it” was pressed at" in judged.error["what"]
    assert "its outcome is unknown: the kernel ended." in judged.error["what"]
    assert found.table().rows[-1][3] == "unknown"


def test_a_change_that_is_not_asked_for_deserves_no_bag(toy: Toy):
    found = session(toy, Pressed(step="look"), did(toy, "look"), Pressed(step="paint", asked=False))
    assert not found.deserves_bag
    found.take(Close(why="the person archived it", asked=True), AT)
    assert found.deserves_bag


def test_a_repeated_step_undoes_those_after_it_and_stays_on_record(toy: Toy):
    messages = [m for slug in ("look", "paint", "look") for m in (Pressed(step=slug), did(toy, slug))]
    found = session(toy, *messages, Close(why="the values were changed"))
    judged = found.judge(())
    assert judged.status == "interrupted"
    assert judged.error
    assert judged.error["what"].endswith("The next step was “Paint it”.")
    assert [step.step for step in judged.steps] == ["look", "paint", "look"]


def test_a_session_that_continues_another_counts_its_steps_as_done(toy: Toy):
    toy.perform("look")
    found = ClickedSession(started(), begin(toy, earlier=("look",)), AT)
    for message in (Pressed(step="paint"), did(toy, "paint"), Pressed(step="show"), did(toy, "show")):
        found.take(message, AT)
    assert found.judge(()).status == "done"
    assert [step.step for step in found.judge(()).steps] == ["paint", "show"]


# --- written down and read again --------------------------------------------------------------------------------------


def written(toy: Toy, folder: Path, *messages: Begin | Pressed | Did, secret: str = "") -> ClickedSession | None:
    scanner = Scanner((), {})
    if secret:
        scanner.add("prompt:a", secret)
    lines = [as_line(message, AT, scanner) for message in messages]
    (folder / SESSION).write_bytes(b"".join(lines))
    (folder / NOTEBOOK).write_text(nbformat.writes(nbformat.v4.new_notebook()))
    return ClickedSession.read(started(), folder)


def test_a_torn_last_line_counts_as_never_written(toy: Toy, tmp_path: Path):
    found = written(toy, tmp_path, begin(toy), Pressed(step="look"), did(toy, "look"), Pressed(step="paint"))
    assert found
    assert len(found.clicks) == 2
    whole = (tmp_path / SESSION).read_bytes()
    (tmp_path / SESSION).write_bytes(whole[:-20])
    found = ClickedSession.read(started(), tmp_path)
    assert found
    assert len(found.clicks) == 1
    (tmp_path / SESSION).write_bytes(whole[:20])
    assert ClickedSession.read(started(), tmp_path) is None


def test_a_secret_in_a_line_is_not_written_and_the_bag_says_that_it_was_withheld(toy: Toy, tmp_path: Path):
    begun = begin(toy, parameters={"name": SECRET})
    written(toy, tmp_path, begun, Pressed(step="look"), did(toy, "look"), Pressed(step="paint"), secret=SECRET)
    assert SECRET not in (tmp_path / SESSION).read_text()
    produced = produce_left_over(started(), tmp_path, environ={}, keep_out=())
    assert produced
    assert produced.record.status == "withheld"
    assert [(found.file, found.what) for found in produced.record.scan.found] == [(SESSION, "prompt:a")]
    assert "run.ipynb" not in produced.files
    told = json.loads(produced.files["run.json"])
    assert told["clicks"][-1]["verdict"] is None
    assert told["mode"] == "interactive"

"""The calls of a notebook, interactive and headless, with the same procedure."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.access import Access
from runbook_lib.result import MIME, read_record
from runbook_lib.widgets import Runbook
from runbook_lib.widgets.notebook import newest, plain_variables
from tests.widgets.conftest import PASSWORD, Cells, w, widgets
from tests.widgets.toy import Toy

PAINT = "Paint it: “Wall” on sandbox"


def buttons() -> dict[str, Any]:
    """Every live button by its description; the newest of each."""
    return {one.description: one for one in widgets(w.Button)}


def whole_notebook(**namespace: Any) -> Runbook:
    runbook = Runbook(Toy, namespace)
    for method in (Toy.look, Toy.paint, Toy.show):
        runbook.step(method)
    runbook.finish()
    return runbook


def headless(**more: Any) -> dict[str, Any]:
    return {"mode": "headless", "name": "Wall", "confirm": "Wall", **more}


# --- headless ---------------------------------------------------------------------------------------------------------


def test_headlessly_every_step_runs_and_leaves_html_text_and_its_record(cells: Cells):
    whole_notebook(**headless())
    assert Toy.runs == ["look", "paint", "show"]
    assert [read_record(record).record for record in cells.records] == ["parameters", "step", "step", "step", "finish"]
    for data in cells.outputs[1:]:
        assert {"text/html", "text/plain", MIME} == set(data)


def test_headlessly_no_widget_is_made(cells: Cells):
    whole_notebook(**headless())
    assert not widgets()
    assert "widget-view" not in json.dumps(cells.outputs)


def test_headlessly_a_failed_step_is_shown_and_then_ends_the_notebook(cells: Cells):
    with pytest.raises(RunbookError) as caught:
        whole_notebook(**headless(name="Refused", confirm="Refused"))
    assert caught.value.reason is Reason.NO_ACCESS
    assert cells.records[-1]["error"]["reason"] == "no_access"
    assert "The brush is locked away." in cells.text
    assert "permission" in cells.html
    assert Toy.runs == ["look", "paint"]


def test_headlessly_a_change_without_its_confirmation_is_refused(cells: Cells):
    with pytest.raises(RunbookError) as caught:
        whole_notebook(**headless(confirm=""))
    assert caught.value.reason is Reason.CONFIRMATION_MISSING
    assert Toy.runs == ["look"]


def test_headlessly_an_unknown_parameter_is_refused_and_recorded(cells: Cells):
    with pytest.raises(RunbookError) as caught:
        whole_notebook(**headless(nmae="Wall"))
    assert caught.value.reason is Reason.UNKNOWN_PARAMETER
    assert cells.records[0]["error"]["reason"] == "unknown_parameter"
    assert Toy.runs == []


def test_a_secret_as_a_plain_value_is_refused_and_shown_nowhere(cells: Cells):
    for mode in ("headless", "interactive"):
        with pytest.raises(RunbookError) as caught:
            whole_notebook(**headless(mode=mode, api_key=PASSWORD))
        assert caught.value.reason is Reason.SECRET_AS_VALUE
    assert PASSWORD not in json.dumps(cells.outputs) + str(caught.value)


def test_a_parameter_of_another_notebook_is_shown_as_not_used(cells: Cells):
    whole_notebook(**headless(due_days=5))
    rows = {row["name"]: row for row in cells.records[0]["rows"]}
    assert rows["due_days"]["source"] == "not used here"
    assert rows["name"] == {**rows["name"], "value": "Wall", "source": "given"}
    assert rows["country"]["source"] == "default"


def test_a_mode_that_does_not_exist_is_refused(cells: Cells):
    with pytest.raises(RunbookError) as caught:
        Runbook(Toy, {"mode": "sometimes"})
    assert caught.value.reason is Reason.BAD_PARAMETER


def test_only_plain_variables_of_the_notebook_itself_are_parameters():
    namespace = {"name": "Wall", "_i1": "x", "In": [""], "Out": {}, "exit": object(), "Toy": Toy, "due_days": 3}
    assert plain_variables(namespace) == {"name": "Wall", "due_days": 3}


# --- interactive -----------------------------------------------------------------------------------------------------


def test_buttons_wait_for_start_and_then_for_their_turn(cells: Cells):
    whole_notebook(name="Wall")
    assert buttons()["Check: Look around"].disabled
    assert buttons()["Change: Paint it"].disabled
    buttons()["Start"].click()
    first, second, third = (buttons()[name] for name in ("Check: Look around", PAINT, "Check: Show it"))
    assert (first.disabled, second.disabled, third.disabled) == (False, True, True)
    second.click()  # not its turn, even if the click arrives
    assert Toy.runs == []
    first.click()
    assert (first.disabled, second.disabled, third.disabled) == (True, False, True)
    second.click()
    third.click()
    assert Toy.runs == ["look", "paint", "show"]
    assert cells.records[-1]["verdict"] == "attention"


def test_a_change_says_before_it_is_pressed_what_it_would_do(cells: Cells):
    whole_notebook(name="Wall")
    buttons()["Start"].click()
    said = [one.value for one in widgets(w.HTML)]
    assert not any("paint “Wall” green" in words for words in said)
    buttons()["Check: Look around"].click()
    said = [one.value for one in widgets(w.HTML)]
    assert any("Would paint “Wall” green." in words for words in said)


def test_a_result_is_an_ordinary_output_and_not_inside_a_widget(cells: Cells):
    whole_notebook(name="Wall")
    assert "This step has not run yet." in cells.text
    buttons()["Start"].click()
    buttons()["Check: Look around"].click()
    assert "All is there." in cells.text
    assert "All is there." in cells.html
    assert "All is there." not in json.dumps(w.Widget.get_manager_state())
    assert [record["record"] for record in cells.records] == ["parameters", "step", "finish"]


def test_the_summary_grows_with_the_steps(cells: Cells):
    whole_notebook(name="Wall")
    assert cells.records[-1]["verdict"] == "unchecked"
    buttons()["Start"].click()
    buttons()["Check: Look around"].click()
    assert [verdict for _, _, verdict in cells.records[-1]["steps"]] == ["ok", "unchecked", "unchecked"]


def test_variables_of_the_analysts_own_are_left_alone(cells: Cells):
    whole_notebook(name="Wall", scratch=[1, 2, 3])
    assert not buttons()["Start"].disabled


def test_a_failed_step_shows_its_remedy_and_can_be_tried_again(cells: Cells):
    whole_notebook(name="Refused")
    for name in ("Start", "Check: Look around", "Paint it: “Refused” on sandbox"):
        buttons()[name].click()
    assert "The brush is locked away." in cells.text
    again = buttons()["Try again: Paint it: “Refused” on sandbox"]
    assert not again.disabled
    assert buttons()["Check: Show it"].disabled
    again.click()
    assert Toy.runs == ["look", "paint", "paint"]


def test_an_error_nobody_foresaw_is_a_panel_with_its_type_and_text(cells: Cells):
    whole_notebook(name="Broken")
    buttons()["Start"].click()
    buttons()["Check: Look around"].click()
    assert "RuntimeError: the <floor> gave way" in cells.text
    assert "the &lt;floor&gt; gave way" in cells.html
    assert cells.records[-1]["verdict"] == "failed"


def test_an_interrupted_step_says_so_and_can_be_tried_again(cells: Cells):
    whole_notebook(name="Interrupted")
    buttons()["Start"].click()
    buttons()["Check: Look around"].click()
    assert "interrupted" in cells.text
    assert not buttons()["Try again: Look around"].disabled


def test_what_the_environment_lacks_is_said_with_its_remedy(cells: Cells, monkeypatch: pytest.MonkeyPatch):
    whole_notebook(name="Wall")
    monkeypatch.delenv("DIGICERT_ONE_URL")
    buttons()["Start"].click()
    buttons()["Check: Look around"].click()
    assert "DIGICERT_ONE_URL" in cells.text
    assert "runbook sandbox start" in cells.text
    monkeypatch.setenv("DIGICERT_ONE_URL", "https://localhost:1")
    buttons()["Try again: Look around"].click()
    assert "All is there." in cells.text


def test_what_the_form_could_not_see_is_said_below_it(cells: Cells, tmp_path: Path):
    ca = tmp_path / "ca.pem"
    ca.write_text("there for now")
    whole_notebook(name="Wall", ca_file=str(ca))
    ca.unlink()
    buttons()["Start"].click()
    assert "there is no file" in cells.text
    assert not buttons()["Start"].disabled
    assert buttons()["Check: Look around"].disabled
    ca.write_text("back again")
    buttons()["Start"].click()
    assert not buttons()["Check: Look around"].disabled


def test_changing_the_values_forgets_what_was_done_with_the_old_ones(cells: Cells):
    whole_notebook(name="Wall")
    for name in ("Start", "Check: Look around", PAINT, "Change the values"):
        buttons()[name].click()
    assert "It is green." not in cells.text
    assert buttons()["Check: Look around"].disabled
    assert not buttons()["Start"].disabled


def test_a_step_whose_cell_is_run_again_can_be_done_again_and_later_results_are_dropped(cells: Cells):
    runbook = whole_notebook(name="Wall")
    for name in ("Start", "Check: Look around", PAINT, "Check: Show it"):
        buttons()[name].click()
    runbook.step(Toy.look)
    again = buttons()["Again: Look around"]
    assert not again.disabled
    again.click()
    assert Toy.runs == ["look", "paint", "show", "look"]
    assert "It is green." not in cells.text
    assert not buttons()[PAINT].disabled


def test_a_double_click_runs_a_step_once(cells: Cells):
    whole_notebook(name="Refused")
    for name in ("Start", "Check: Look around"):
        buttons()[name].click()
    paint = buttons()["Paint it: “Refused” on sandbox"]

    async def clicks() -> None:
        paint.click()
        paint.click()  # arrived while the first was running
        await asyncio.sleep(0.7)
        assert paint.description == "Try again: Paint it: “Refused” on sandbox"
        paint.click()

    asyncio.run(clicks())
    assert Toy.runs == ["look", "paint", "paint"]


def test_a_typed_secret_reaches_the_step_and_no_output_or_widget(cells: Cells):
    secret = "typedbyhand0123456789typedbyhand"
    runbook = whole_notebook(name="Wall", p12_password="prompt:")
    form = runbook._way.form  # type: ignore[attr-defined]
    form.password("p12_password").value = secret
    buttons()["Start"].click()
    assert form.password("p12_password").value == ""
    buttons()["Check: Look around"].click()
    assert "from prompt:" in cells.text
    assert secret not in json.dumps(cells.outputs) + json.dumps(w.Widget.get_manager_state())


def test_a_form_value_is_recorded_as_coming_from_the_form(cells: Cells):
    runbook = whole_notebook(name="Wall")
    runbook._way.form.set("country", "DE")  # type: ignore[attr-defined]
    buttons()["Start"].click()
    rows = {row["name"]: (row["value"], row["source"]) for row in cells.records[0]["rows"]}
    assert rows["country"] == ("DE", "form")
    assert rows["name"] == ("Wall", "given")
    assert rows["state"] == ("", "default")


def test_a_new_form_retires_every_button_of_the_one_before(cells: Cells):
    old = whole_notebook(name="Wall")
    for name in ("Start", "Check: Look around"):
        buttons()[name].click()
    paint, start = buttons()[PAINT], buttons()["Start"]
    whole_notebook(name="Fence")
    assert paint.disabled
    assert start.disabled
    paint.disabled = start.disabled = False  # as an outdated browser page would have it
    paint.click()
    start.click()
    assert Toy.runs == ["look"]
    assert any("belongs to an earlier form" in one.value for one in widgets(w.HTML))
    assert [record["record"] for record in cells.records] == ["finish"]  # the old ones no longer count
    assert "This result belongs to an earlier form." in cells.text
    old.step(Toy.look)  # from a variable that kept it
    assert all(one.disabled for one in widgets(w.Button) if "Look" in one.description)


def test_a_form_that_is_refused_retires_the_one_before_too(cells: Cells):
    whole_notebook(name="Wall")
    buttons()["Start"].click()
    look = buttons()["Check: Look around"]
    with pytest.raises(RunbookError):
        Runbook(Toy, {"name": "a/b"})
    look.click()
    assert look.disabled
    assert Toy.runs == []
    with pytest.raises(RunbookError) as caught:
        newest()
    assert caught.value.reason is Reason.STEP_OUT_OF_ORDER


def test_a_click_meant_for_other_values_does_nothing_and_says_so(cells: Cells):
    runbook = whole_notebook()
    form = runbook._way.form  # type: ignore[attr-defined]
    form.set("name", "Wall")
    for name in ("Start", "Check: Look around"):
        buttons()[name].click()
    seen = buttons()[PAINT]  # on a page that is updated late
    buttons()["Change the values"].click()
    form.set("name", "Fence")
    for name in ("Start", "Check: Look around"):
        buttons()[name].click()
    seen.disabled = False
    seen.click()
    assert Toy.runs == ["look", "look"]
    assert any("click was for other values" in one.value for one in widgets(w.HTML))
    buttons()["Paint it: “Fence” on sandbox"].click()
    assert Toy.runs == ["look", "look", "paint"]


def test_of_a_step_that_is_shown_twice_one_button_acts(cells: Cells):
    runbook = whole_notebook(name="Wall")
    buttons()["Start"].click()
    first = buttons()["Check: Look around"]
    runbook.step(Toy.look)
    second = buttons()["Check: Look around"]
    assert (first.disabled, second.disabled) == (True, False)
    first.disabled = False
    first.click()
    assert Toy.runs == []
    second.click()
    assert Toy.runs == ["look"]


def test_while_a_step_is_at_work_no_other_button_and_no_value_can_be_changed(cells: Cells):
    runbook = whole_notebook(name="Wall")
    for name in ("Start", "Check: Look around", PAINT):
        buttons()[name].click()
    runbook.step(Toy.look)
    again, show, change = (buttons()[name] for name in ("Again: Look around", "Check: Show it", "Change the values"))

    async def clicks() -> None:
        again.click()
        show.click()  # these arrived late, meant for the earlier results
        change.click()
        await asyncio.sleep(0.7)

    asyncio.run(clicks())
    assert Toy.runs == ["look", "paint", "look"]
    assert "All is there." in cells.text


def test_a_name_on_a_button_is_shortened_in_the_middle_and_made_visible(cells: Cells):
    whole_notebook(name="Signer of the release pipeline in the European region 0001")
    buttons()["Start"].click()
    (shown,) = [name for name in buttons() if name.startswith("Paint it: “")]
    assert shown == "Paint it: “Signer of the release pipel…pean region 0001” on sandbox"
    assert "European" in buttons()[shown].tooltip


def test_a_dry_run_says_so_on_its_button(cells: Cells):
    whole_notebook(name="Wall", dry_run=True)
    buttons()["Start"].click()
    assert f"Dry run: {PAINT}" in buttons()


def test_a_step_of_another_notebook_is_refused_in_words(cells: Cells):
    runbook = whole_notebook(name="Wall")
    with pytest.raises(RunbookError) as caught:
        runbook.step(Access.prove_refused)
    assert "another notebook" in caught.value.what


def test_a_step_that_the_action_leaves_out_is_skipped_and_its_button_names_no_deed(cells: Cells):
    runbook = Runbook(Access, {"name": "Wall", "action": "enable"})
    for method in (Access.prove_access, Access.disable, Access.prove_refused, Access.enable, Access.prove_restored):
        runbook.step(method)
    buttons()["Start"].click()
    live = [one for one in widgets(w.Button) if one.tooltip and " – “Wall”" in one.tooltip]
    assert [one.description for one in live] == [
        "Check: Prove the current state",
        "Skip this step",
        "Skip this step",
        "Enable “Wall” on sandbox",
        "Check: Prove that access is back",
    ]


def test_the_summary_is_up_to_date_the_moment_a_result_stands_there(cells: Cells):
    whole_notebook(name="Wall")
    buttons()["Start"].click()

    async def click() -> None:
        buttons()["Check: Look around"].click()
        assert next(verdict for _, _, verdict in cells.records[-1]["steps"]) == "ok"  # true if saved now

    asyncio.run(click())

"""Nothing on screen acts on something else: stale forms, second pages, restarts, reloads, copies, hasty clicks."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator

import pytest
import requests
from playwright.sync_api import expect

from tests.browser.conftest import STEP_SECONDS, Desk, Lab, records
from tests.browser.test_walk import request_some
from tests.conftest import Sandbox

pytestmark = pytest.mark.browser

Open = Callable[[str], Desk]
LOOK, DISABLE, GONE = "Prove the current state", "Disable the certificate", "Prove that access is gone"
EARLIER = "belongs to an earlier form"
FIRST_CELLS = "Run the first cells again"
FORM, PARAMETERS = "Runbook(Access, globals())", "allow_outage_of: str"
LONG = STEP_SECONDS * 1000


@pytest.fixture(autouse=True)
def signers(lab_sandbox: Sandbox) -> Iterator[None]:
    """Two certificates that could be confused, and one so that neither of them is the last."""
    have = {one["name"] for one in lab_sandbox.admin("GET", "/certificates")}
    request_some(lab_sandbox, {name: 200 for name in ("Signer A", "Signer B", "Spare") if name not in have})
    yield
    lab_sandbox.admin("DELETE", "/faults")
    request_enabled(lab_sandbox)


def request_enabled(sandbox: Sandbox) -> None:
    """Enable the certificates that a test left disabled."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(sandbox.ca_file)
        session.headers["x-api-key"] = sandbox.api_key
        for one in sandbox.admin("GET", "/certificates"):
            url = f"{sandbox.url}/account/api/v1/client-auth-certificate/{one['id']}/enable"
            if not one["enabled"]:
                session.put(url, json={"enabled": True}, timeout=10).raise_for_status()


def copied(lab: Lab, request: pytest.FixtureRequest, more: str = "") -> str:
    name = re.sub(r"\W+", "-", request.node.name)[:60] + more
    shutil.copyfile(lab.folder / "03_access.ipynb", lab.folder / f"{name}.ipynb")
    return name


@pytest.fixture
def access(desk: Open, lab: Lab, request: pytest.FixtureRequest) -> Desk:
    """A copy of notebook 03 for this test alone, with its cells run."""
    one = desk(copied(lab, request))
    one.run_all()
    return one


def begin(one: Desk, name: str = "Signer A", action: str = "disable") -> None:
    """Fill in the form, press Start, and look."""
    if one.field("Name").is_enabled():
        one.fill(Name=name)
    one.field("Action").select_option(action)
    one.button("Start").click()
    one.do(LOOK)
    expect(one.step(DISABLE, "Change")).to_be_enabled(timeout=LONG)


def disabled(sandbox: Sandbox) -> set[str]:
    return {one["name"] for one in sandbox.admin("GET", "/certificates") if not one["enabled"]}


def run_cell(one: Desk, source: str) -> None:
    """Run the cell that contains `source`, and wait until it has run."""
    cell = one.page.locator(".jp-CodeCell").filter(has_text=source).first
    before = cell.locator(".jp-InputPrompt").inner_text()
    cell.locator(".cm-line").first.click()
    one.page.keyboard.press("Control+Enter")
    expect(cell.locator(".jp-InputPrompt")).to_have_text(
        re.compile(rf"^(?!{re.escape(before)}$)\[\d+\]:"), timeout=LONG
    )


def reload(one: Desk) -> None:
    one.page.reload()
    one.page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    one.page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=60_000)


def test_1_another_name_in_the_parameters_cell_retires_the_old_buttons(access: Desk, lab_sandbox: Sandbox):
    begin(access)
    expect(access.step(DISABLE, "Change")).to_have_text("Disable “Signer A” on sandbox")
    access.picture("stale-named")
    access.rewrite(name="Signer B")
    run_cell(access, PARAMETERS)
    run_cell(access, FORM)
    expect(access.page.get_by_text(EARLIER)).to_have_count(7)  # five buttons, a result and the summary
    expect(access.step(DISABLE, "Change")).to_be_disabled()
    access.picture("stale-retired")
    # a page that was not updated yet still sends clicks: the kernel refuses them
    access.step(DISABLE, "Change").evaluate("button => { button.disabled = false; button.click(); }")
    run_cell(access, "Access.prove_access")
    assert not disabled(lab_sandbox)
    run_cell(access, "Access.disable")
    begin(access, "Signer B")
    expect(access.step(DISABLE, "Change")).to_have_text("Disable “Signer B” on sandbox")


@pytest.mark.soak
def test_2_and_5_a_second_page_and_a_reloaded_one_tell_and_act_as_the_first(
    access: Desk, desk: Open, lab_sandbox: Sandbox
):
    begin(access)
    access.save()
    second = desk(access.name)
    expect(second.step(DISABLE, "Change")).to_have_text("Disable “Signer A” on sandbox", timeout=LONG)
    second.button("Change the values").click()
    expect(access.step(DISABLE, "Change")).to_be_disabled()
    begin(access, "Signer B")
    expect(second.step(DISABLE, "Change")).to_have_text("Disable “Signer B” on sandbox", timeout=LONG)
    reload(second)
    second.step(DISABLE, "Change").click()
    expect(second.page.get_by_text("This step has run")).to_have_count(0)  # the style shows it
    expect(access.step(DISABLE, "Change")).to_have_text("✓ Done: Disable “Signer B” on sandbox", timeout=LONG)
    note = second.page.locator(".jp-OutputArea-child:has(.dor-ran) + .jp-OutputArea-child .dor-waits")
    expect(note).to_have_count(1)
    assert "has run" in note.evaluate("one => getComputedStyle(one, '::after').content")
    assert disabled(lab_sandbox) == {"Signer B"}
    second.picture("stale-reloaded")
    run_cell(second, "Access.disable")
    expect(second.page.get_by_label(f"Result: {DISABLE}", exact=True)).to_contain_text("“Signer B” is disabled")


@pytest.mark.soak
def test_3_cells_run_in_any_order_leave_one_button_a_step(access: Desk, lab_sandbox: Sandbox):
    begin(access)
    run_cell(access, FORM)  # the form again, but not the cells below it
    expect(access.step(DISABLE, "Change")).to_be_disabled()
    for source in ("runbook.finish", "Access.disable", "Access.prove_access", "Access.disable"):
        run_cell(access, source)
    begin(access, "Signer B")
    expect(access.step(DISABLE, "Change")).to_have_count(1)
    expect(access.step(DISABLE, "Change")).to_have_text("Disable “Signer B” on sandbox")
    expect(access.step(GONE)).to_be_disabled()  # its cell was not run again
    assert not disabled(lab_sandbox)


@pytest.mark.soak
def test_4_after_a_restart_the_page_says_what_to_do(access: Desk):
    begin(access)
    access.save()
    access.kill_kernel()
    row = access.page.locator(".dor-row").first
    expect(row).to_have_class(re.compile("jupyter-widgets-disconnected"), timeout=LONG)
    assert FIRST_CELLS in row.evaluate("one => getComputedStyle(one, '::after').content")
    icons = access.page.locator(".jupyter-widgets-disconnected").evaluate_all(
        "all => all.filter(one => { const s = getComputedStyle(one, '::before');"
        " return s.display !== 'none' && s.content.includes('\\uf127'); }).length"
    )
    assert icons == 0
    expect(
        access.page.get_by_text("The service user’s certificates").or_(access.page.get_by_text("Spare")).first
    ).to_be_visible()
    access.picture("stale-restarted")
    run_cell(access, "Access.disable")
    output = access.page.locator(".jp-CodeCell").filter(has_text="Access.disable").locator(".jp-OutputArea-output")
    expect(output.last).to_contain_text(FIRST_CELLS)
    expect(output.last).not_to_contain_text("NameError")
    saved = access.save()
    assert any("Spare" in json.dumps(record) for record in records(saved))
    reload(access)
    lost = access.page.get_by_text("Error displaying widget: model not found").first
    expect(lost).to_be_attached(timeout=LONG)
    assert FIRST_CELLS in lost.evaluate("one => getComputedStyle(one, '::after').content")
    assert lost.evaluate("one => getComputedStyle(one).fontSize") == "0px"
    access.picture("stale-reopened")


@pytest.mark.soak
def test_6_a_copy_beside_has_a_form_of_its_own(
    access: Desk, desk: Open, lab: Lab, request: pytest.FixtureRequest, lab_sandbox: Sandbox
):
    begin(access)
    copy = desk(copied(lab, request, "-copy"))
    copy.run_all()
    begin(copy, "Signer B")
    expect(access.step(DISABLE, "Change")).to_have_text("Disable “Signer A” on sandbox")
    expect(access.step(DISABLE, "Change")).to_be_enabled()
    copy.do(DISABLE, "Change")
    assert disabled(lab_sandbox) == {"Signer B"}


def test_7_hasty_clicks_do_one_thing(access: Desk, lab_sandbox: Sandbox):
    access.fill(Name="Signer A")
    access.field("Action").select_option("disable and re-enable")
    access.button("Start").dblclick()
    expect(access.step(LOOK)).to_be_enabled(timeout=LONG)
    access.do(LOOK)
    slow = {"fault": "delay_after", "method": "PUT", "path": "*", "nth": 1, "seconds": 3}
    lab_sandbox.admin("PUT", "/faults", {"rules": [slow], "seed": 1})
    expect(access.step(DISABLE, "Change")).to_be_enabled(timeout=LONG)
    access.step(DISABLE, "Change").dblclick()
    access.button("Change the values").evaluate("button => { button.disabled = false; button.click(); }")
    expect(access.page.get_by_label(f"Result: {DISABLE}", exact=True)).to_be_visible(timeout=LONG)
    expect(access.step(GONE)).to_be_enabled(timeout=LONG)
    puts = [one for one in lab_sandbox.admin("GET", "/requests") if one["method"] == "PUT" and "enable" in one["path"]]
    assert len([one for one in puts[-2:] if one["path"] == puts[-1]["path"]]) == 1
    expect(access.field("Name")).to_be_disabled()


def test_8_a_value_changed_after_start_is_set_back(access: Desk, lab_sandbox: Sandbox):
    begin(access)
    access.field("Name").evaluate(
        "field => { field.disabled = false; field.value = 'Signer B';"
        " field.dispatchEvent(new Event('input', {bubbles: true})); }"
    )
    expect(access.field("Name")).to_have_value("Signer A", timeout=LONG)
    expect(access.step(DISABLE, "Change")).to_have_text("Disable “Signer A” on sandbox")
    assert not disabled(lab_sandbox)


@pytest.mark.soak
def test_9_an_earlier_step_that_is_done_again_sets_the_later_ones_back(access: Desk, lab_sandbox: Sandbox):
    begin(access)
    access.do(DISABLE, "Change")
    run_cell(access, "Access.prove_access")
    again = access.step(LOOK)
    expect(again).to_have_text(f"Again: {LOOK}")
    expect(access.page.get_by_text("Then repeat the steps after it.")).to_be_visible()
    again.click()
    expect(access.step(DISABLE, "Change")).to_be_enabled(timeout=LONG)
    expect(access.page.get_by_label(f"Result: {DISABLE}", exact=True)).to_have_count(0)
    access.step(DISABLE, "Change").click()
    expect(access.page.get_by_label(f"Result: {DISABLE}", exact=True)).to_contain_text(
        "The certificate is already disabled."
    )


def test_03_never_says_disable_when_it_would_enable(access: Desk, lab_sandbox: Sandbox):
    access.fill(Name="Signer A")
    access.field("Action").select_option("enable")
    access.button("Start").click()
    access.do(LOOK)
    skip = access.step(DISABLE, "Change")
    expect(skip).to_have_text("Skip this step")
    access.do(DISABLE, "Change")
    access.do(GONE)
    expect(access.step("Enable the certificate", "Change")).to_have_text("Enable “Signer A” on sandbox")
    assert not disabled(lab_sandbox)

"""The form: made from the model, checked on every change, and never a place where a secret stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import MODELS, InventoryParameters, IssueParameters, Parameters
from runbook_lib.widgets.form import WITHOUT_FIELD, Form
from tests.widgets.conftest import PASSWORD, w, widgets

pytestmark = pytest.mark.usefixtures("cells")


def form(**given: Any) -> Form:
    return Form(IssueParameters, given, on_start=lambda: None, on_change=lambda: None)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_notebooks_form_has_a_labelled_field_with_help_for_each_parameter(model: type[Parameters]):
    one = Form(model, {}, on_start=lambda: None, on_change=lambda: None)
    for name, info in model.model_fields.items():
        if name not in WITHOUT_FIELD:
            assert one[name].description == info.title
            assert one.values()[name] == info.default
            assert info.description


def test_a_field_suits_the_type_of_its_parameter():
    one = form()
    assert type(one["name"]).__name__ == "Text"
    assert type(one["dry_run"]).__name__ == "Checkbox"
    assert one["key_kind"].options == ("rsa-2048", "rsa-3072", "rsa-4096", "p-256", "p-384")
    days = Form(MODELS[4], {}, on_start=lambda: None, on_change=lambda: None)["due_days"]
    assert (days.min, days.max, days.value) == (1, 397, 90)


def test_a_wrong_value_is_named_under_its_field_and_start_waits_until_it_is_corrected():
    one = form()
    assert not one.start.disabled
    one["country"].value = "USA"
    assert one.message("country") == "Enter a two-letter code in capitals, for example DE (given: 'USA')"
    assert one.start.disabled
    assert all(not one.message(name) for name in ("name", "common_name", "organization"))
    one["country"].value = "US"
    assert not one.message("country")
    assert not one.start.disabled


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("name", "a/b"),
        ("name", "x" * 300),
        ("expiration_date", "tomorrow"),
        ("ca_file", "/nowhere.pem"),
        ("api_key", PASSWORD),
        ("common_name", ""),
        ("organization", "x" * 65),
    ],
)
def test_what_a_headless_run_would_refuse_the_form_refuses_too(field: str, wrong: str):
    one = form()
    one[field].value = wrong
    assert one.message(field)
    assert "secret_as_value" not in one.message(field)
    assert "pattern" not in one.message(field)
    assert PASSWORD not in one.message(field)
    assert one.start.disabled


def test_an_injected_parameter_really_arrives_in_the_widget_and_is_locked_there():
    one = form(name="Injected", country="GB", dry_run=True, key_kind="p-256")
    assert (one["name"].value, one["country"].value) == ("Injected", "GB")
    assert one["dry_run"].value is True
    assert one["key_kind"].value == "p-256"
    assert one["name"].disabled
    assert not one["common_name"].disabled
    one.lock()
    one.unlock()
    assert one["name"].disabled


def test_a_program_that_sets_another_value_than_the_injected_one_is_told_of_the_conflict():
    one = form(name="Injected")
    one.set("name", "Injected")
    one.set("common_name", "Free to choose")
    with pytest.raises(RunbookError) as caught:
        one.set("name", "Another")
    assert caught.value.reason is Reason.CONFLICTING_PARAMETER
    assert one.values()["name"] == "Injected"


def test_what_was_injected_outranks_what_was_typed_and_that_outranks_the_default():
    one = form(name="Injected", confirm="Injected")
    one["name"].value = "typed past the lock"
    one["country"].value = "DE"
    values = one.values()
    assert (values["name"], values["country"], values["organization"]) == ("Injected", "DE", "Your Organization")
    assert values["confirm"] == "Injected"  # used although it has no field
    assert one.typed == {"country"}


def test_a_secret_is_typed_into_a_password_field_that_is_empty_again_once_it_was_taken():
    started: list[str] = []
    one = Form(IssueParameters, {}, on_start=lambda: started.append("started"), on_change=lambda: None)
    one["p12_password"].value = "prompt:"
    one.start.click()
    assert one.message("p12_password") == "Type the secret into the field above."
    assert not started
    one.password("p12_password").value = PASSWORD
    assert one.password("p12_password").value == ""  # long before Start
    assert not one.message("p12_password")
    one.start.click()
    assert started
    reference = one.values()["p12_password"]
    one.take()
    one.lock()
    assert one.prompt(reference.removeprefix("prompt:")) == PASSWORD
    state = json.dumps(w.Widget.get_manager_state())
    assert "Demo API Service User" in state  # the state of this form
    assert PASSWORD not in state
    assert PASSWORD not in repr(vars(one)) + repr(one.values())


def test_two_secrets_that_are_typed_are_told_apart():
    one = form()
    for field, secret in (("p12_password", "1" * 30), ("api_key", "2" * 30)):
        one[field].value = "prompt:"
        one.password(field).value = secret
    one.take()
    assert one.prompt("P12 password") == "1" * 30
    assert one.prompt("API key") == "2" * 30


def test_a_secret_that_was_not_typed_is_asked_for_in_words():
    one = form()
    one.take()
    with pytest.raises(RunbookError) as caught:
        one.prompt("P12 password")
    assert caught.value.reason is Reason.SECRET_NOT_FOUND


def test_hostile_text_in_a_message_stays_text():
    one = form()
    one["ca_file"].value = "<img src=x onerror=alert(1)>"
    shown = [one.value for one in widgets(w.HTML)]
    assert any("&lt;img" in value for value in shown)
    assert not any("<img" in value for value in shown)


def test_a_list_is_filled_in_with_one_item_to_a_line():
    one = Form(InventoryParameters, {}, on_start=lambda: None, on_change=lambda: None)
    one["folders"].value = "/a/b\n\n/c d\n"
    assert one.values()["folders"] == ["/a/b", "/c d"]
    assert one.typed == {"folders"}
    one["api_keys"].value = f"env:A\n{PASSWORD}"
    assert one.start.disabled
    assert PASSWORD not in one.message("api_keys")
    one["api_keys"].value = "env:A\nfile:/b"
    assert not one.start.disabled
    given = Form(InventoryParameters, {"folders": ["/x"]}, on_start=lambda: None, on_change=lambda: None)
    assert (given.values()["folders"], given["folders"].disabled) == (["/x"], True)


def test_an_optional_secret_is_asked_for_only_where_the_reference_says_prompt():
    one = Form(InventoryParameters, {}, on_start=lambda: None, on_change=lambda: None)
    assert one.password("folders_password").layout.display == "none"
    assert not one.start.disabled
    one["folders_password"].value = "prompt:"
    assert one.password("folders_password").layout.display is None
    assert one.message("folders_password")
    one.password("folders_password").value = PASSWORD
    assert not one.message("folders_password")


def test_a_change_that_arrives_after_start_is_set_back_to_what_the_steps_use():
    one = form(country="GB")
    one["name"].value = "Chosen"
    one["p12_password"].value = "prompt:"
    one.password("p12_password").value = "1" * 30
    one.take()
    one.lock()
    one["name"].value = "Too late"  # arrived after Start
    one["country"].value = "DE"
    one.password("p12_password").value = "2" * 30
    assert (one["name"].value, one["country"].value, one.password("p12_password").value) == ("Chosen", "GB", "")
    assert one.prompt("P12 password") == "1" * 30
    one.unlock()
    one["name"].value = "In time"
    assert one.values()["name"] == "In time"
    assert one.message("p12_password")  # must be typed again


def test_a_retired_form_starts_nothing():
    started: list[str] = []
    one = Form(IssueParameters, {}, on_start=lambda: started.append("started"), on_change=lambda: None)
    one.retire()
    one.start.click()
    one.change.click()
    assert not started
    assert one["name"].disabled
    assert any("belongs to an earlier run" in html.value for html in widgets(w.HTML))

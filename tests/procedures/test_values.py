"""The message for a wrong parameter: its name, what it must be, and the value if that cannot be a secret."""

from __future__ import annotations

import datetime as d
from typing import Any

import pytest

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import (
    ArchiveParameters,
    DoctorParameters,
    InventoryParameters,
    IssueParameters,
    Parameters,
    RotateParameters,
    intake,
)


def refused(model: type[Parameters], **given: Any) -> RunbookError:
    with pytest.raises(RunbookError) as caught:
        intake(model, given)
    assert "\n" not in caught.value.what
    return caught.value


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"country": "USA"}, "country: Enter a two-letter code in capitals, for example DE.*given: 'USA'"),
        ({"country": False}, 'country: must be text; YAML reads unquoted NO.*in quotes, for example "NO"'),
        ({"state": True}, 'state: must be text; YAML reads unquoted ON.*in quotes, for example "ON"'),
        ({"locality": None}, "locality: must be text; YAML reads an empty value, ~ and null as nothing"),
        ({"locality": 1.1}, 'locality: must be text; YAML reads unquoted 1.10.*Write it in quotes, "1.10"'),
        ({"organization": "x" * 65}, "organization: must have at most 64 characters, and has 65"),
        ({"organization": ""}, "organization: must not be empty"),
        ({"common_name": "ä" * 40}, "common_name: must be at most 64 bytes in UTF-8; it has 80"),
        ({"organizational_unit": "a\nb"}, r"organizational_unit: must not contain control characters.*'a\\x0ab'"),
        ({"state": "\ud800"}, r"state: '\\ud800' is not UTF-8"),
        ({"state": [1]}, "state: must be text; this is a list"),
        ({"key_kind": "rsa"}, "key_kind: must be rsa-2048, .* or p-384"),
        ({"dry_run": "maybe"}, "dry_run: must be true or false"),
        ({"ticket": "CHG-1\nCHG-2"}, "ticket: must be one line"),
        ({"approved_by": "x" * 201}, "approved_by: must have at most 200 characters, and has 201"),
        ({"expiration_date": "0001-01-01T00:00:00+01:00"}, "expiration_date: must be a date, written YYYY-MM-DD"),
        ({"expiration_date": "9999-12-31T23:59:59-01:00"}, "expiration_date: must be a date, written YYYY-MM-DD"),
        ({"expiration_date": "9999-12-31"}, "expiration_date: must be in the years 1970 to 8999"),
        ({"clock": "0001-01-01T00:00:00Z"}, "clock: must be in the years"),
        ({"store": "~nobody2/x"}, "store: this machine has no user 'nobody2'"),
        ({"store": "a\0b"}, "store: .* NUL"),
        ({"ca_file": "x" * 5000}, r"ca_file: .*\(5,000 characters\) is too long"),
        ({"environment": "producton"}, "environment: 'producton' must be one of"),
    ],
)
def test_the_message_names_the_parameter_and_what_is_expected(given: dict[str, Any], message: str) -> None:
    error = refused(IssueParameters, **given)
    assert error.reason is Reason.BAD_PARAMETER
    with pytest.raises(RunbookError, match=message):
        raise error


@pytest.mark.parametrize("value", [True, "1e3", 1.5, "9" * 5000, 0, 398, None, "12:30:00", "0x1F"])
def test_a_number_is_told_with_its_bounds_and_a_truth_is_none(value: Any) -> None:
    assert "due_days: must be a whole number" in refused(InventoryParameters, due_days=value).what


def test_several_wrong_parameters_are_told_at_once() -> None:
    message = refused(IssueParameters, country="USA", organization="", key_kind="rsa").what
    assert all(f"{name}: " in message for name in ("country", "organization", "key_kind"))


@pytest.mark.parametrize("token", ["hunter2hunter2", "0123456789abcdef0123456789_" + "0123456789abcdef" * 3])
def test_what_may_be_a_secret_is_not_repeated(token: str) -> None:
    for given in ({"api_key": token}, {"api_keys": [token]}, {"folders_password": token}):
        error = refused(InventoryParameters, **given)
        assert error.reason is Reason.SECRET_AS_VALUE
        assert token not in str(error)
    assert "0123456789abcdef0" not in refused(IssueParameters, country="0123456789abcdef0123456789_" + "a" * 40).what


def test_a_date_of_another_yaml_reader_is_the_text_it_was() -> None:
    """As plain papermill gives it."""
    given = {"name": d.date(2026, 1, 31), "expiration_date": d.datetime(2027, 1, 1, tzinfo=d.UTC)}
    parameters, _ = intake(IssueParameters, given)
    assert (parameters.name, parameters.expiration_date) == ("2026-01-31", "2027-01-01T00:00:00Z")


def test_a_digest_may_have_white_space_around_it_and_nothing_else() -> None:
    assert intake(ArchiveParameters, {"known_head": f" {'a' * 64}\n"})[0].known_head == "a" * 64
    assert (
        "known_head: must be the digest of 64 hexadecimal digits"
        in refused(ArchiveParameters, known_head="a" * 63).what
    )


def test_the_doctor_checks_the_parameters_of_every_notebook_in_a_shared_file() -> None:
    assert "country: Enter a two-letter code" in refused(DoctorParameters, country="USA").what
    assert "overlap_days: " in refused(DoctorParameters, overlap_days=99).what
    intake(DoctorParameters, {"country": "US", "action": "disable", "overlap_days": 2})
    intake(RotateParameters, {"country": "USA"})  # each other notebook checks its own parameters

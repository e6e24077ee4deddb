"""The doctor runs every check and gives each failure its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.catalogue import CATALOGUE, Reason
from runbook_lib.digicert.client import Client
from runbook_lib.procedures.doctor import Doctor
from runbook_lib.procedures.troubleshoot import SHOWN, Troubleshoot, ranked
from runbook_lib.result import Verdict
from tests.conftest import Sandbox
from tests.digicert.hostile import CASES, hostile_server
from tests.procedures.conftest import prepare, run


def checked(sandbox: Sandbox, environ: dict[str, str] | None = None) -> dict[str, str]:
    procedure = prepare(Doctor, sandbox, environ)
    run(procedure)
    return {record.step: record.verdict.value for record in procedure.records}


def test_all_is_well(sandbox: Sandbox) -> None:
    assert set(checked(sandbox).values()) == {"ok"}


def test_each_fault_shows_in_its_own_check_and_the_others_still_run(
    sandbox: Sandbox, fresh_sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    wrong_key = checked(sandbox, {"DIGICERT_ONE_API_KEY": "wrong"})
    assert [name for name, verdict in wrong_key.items() if verdict != "ok"] == ["service-user"]
    no_password = checked(sandbox, {"DIGICERT_ONE_P12_PASSWORD": ""})
    assert [name for name, verdict in no_password.items() if verdict != "ok"] == ["credentials"]
    other = checked(sandbox, {"DIGICERT_ONE_CA_FILE": str(fresh_sandbox().ca_file)})
    assert other["connection"] == "failed"
    assert other["credentials"] == "ok"
    open_store = tmp_path / "open"
    open_store.mkdir()
    open_store.chmod(0o755)
    exposed = checked(sandbox, {"DIGICERT_ONE_STORE": str(open_store)})
    assert [name for name, verdict in exposed.items() if verdict != "ok"] == ["store-is-private"]


def test_a_clock_that_is_wrong_is_told(fresh_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = fresh_sandbox()
    sandbox.admin("PUT", "/clock", {"offset_seconds": 3600})
    assert checked(sandbox)["clock-agrees"] == "failed"


def test_a_server_that_answers_a_byte_a_second_is_waited_for_once(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = Client.__init__.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "answer_seconds", 1.0)
    with hostile_server(tmp_path) as server:
        server.answer = CASES["a slow body"][0]
        here = server.environment
        environ = {
            "DIGICERT_ONE_URL": here.api_url,
            "DIGICERT_ONE_CLIENTAUTH_URL": here.api_url,
            "DIGICERT_ONE_CA_FILE": str(here.ca_file),
        }
        verdicts = checked(sandbox, environ)
        assert len(server.requests) == 1
    assert verdicts["connection"] == "failed"
    assert verdicts["clock-agrees"] == verdicts["service-user"] == "unchecked"
    assert verdicts["credentials"] == "ok"


def test_the_api_key_is_shown_masked_and_nowhere_whole(sandbox: Sandbox) -> None:
    procedure = prepare(Doctor, sandbox)
    run(procedure)
    text = "".join(record.model_dump_json() for record in procedure.records)
    assert sandbox.api_key not in text
    assert f"…{sandbox.api_key[-4:]}" in text


def test_a_reachable_environment_is_not_needed_to_be_told_about_a_missing_one(sandbox: Sandbox) -> None:
    procedure = prepare(Doctor, sandbox, {"DIGICERT_ONE_URL": ""})
    run(procedure)
    assert procedure.finish().verdict is Verdict.FAILED
    assert len(procedure.records) == 5


def test_every_reason_is_explained_and_found_by_what_a_person_saw(sandbox: Sandbox) -> None:
    assert set(CATALOGUE) == set(Reason)
    for symptom, reason in (
        ("duplicate_error", "duplicate_name"),
        ("no_access", "no_access"),
        ("invalid_input_field", "invalid_input"),
        ("unknown ca", "chain_missing"),
        ("enabled = false 403", "certificate_disabled"),
    ):
        procedure = prepare(Troubleshoot, sandbox, symptom=symptom)
        run(procedure)
        result = procedure.records[0].result
        assert result is not None
        rows = result.tables[0].rows
        assert reason in {row[1] for row in rows}
        assert len(rows) <= SHOWN
    everything = prepare(Troubleshoot, sandbox)
    run(everything)
    assert everything.records[0].result is not None
    assert len(everything.records[0].result.tables[0].rows) == len(CATALOGUE)
    nothing = prepare(Troubleshoot, sandbox, symptom="xyzzy")
    run(nothing)
    assert nothing.finish().verdict is Verdict.ATTENTION


@pytest.mark.parametrize("reason", sorted(Reason))
def test_a_code_is_the_first_thing_that_its_search_finds(reason: Reason) -> None:
    assert ranked(reason.value)[0] is reason
    assert ranked(f"[{reason.value}]")[0] is reason
    assert reason in ranked(CATALOGUE[reason].title)[:SHOWN]


def test_plain_words_find_what_they_are_about_first() -> None:
    for symptom, reason in (("server unreachable", "unreachable"), ("wrong password", "wrong_password")):
        assert reason in ranked(symptom)[:5], ranked(symptom)[:5]
    assert ranked("xyzzy") == []

"""The inventory leaves nothing out, and shows the state of each row."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso
from runbook_lib.digicert.listing import Listing, Malformed
from runbook_lib.digicert.models import ClientAuthCertificate
from runbook_lib.inventories.schemas import INVENTORY
from runbook_lib.procedures.access import Access
from runbook_lib.procedures.inventory import Inventory
from runbook_lib.procedures.issue import Issue
from runbook_lib.result import FinishRecord, Verdict
from tests.conftest import Sandbox
from tests.procedures.conftest import issue, prepare, run

Rows = dict[str, dict[str, str]]


def take(sandbox: Sandbox, environ: dict[str, str] | None = None, **given: Any) -> tuple[Rows, FinishRecord, Inventory]:
    procedure = prepare(Inventory, sandbox, environ, **given)
    assert run(procedure).error is None
    result = procedure.records[1].result
    assert result is not None
    rows = [dict(zip(INVENTORY.columns, row, strict=True)) for row in result.tables[0].rows]
    assert [row["effective end"] for row in rows if row["effective end"]] == sorted(
        row["effective end"] for row in rows if row["effective end"]
    )
    return {row["name"]: row for row in rows}, procedure.finish(), procedure


@pytest.fixture
def own(fresh_sandbox: Callable[..., Sandbox]) -> Sandbox:
    return fresh_sandbox()


def test_a_store_and_a_list_that_agree_are_healthy(own: Sandbox) -> None:
    issue(own, "Fine")
    rows, end, _ = take(own)
    assert rows["Fine"]["state"] == "healthy"
    assert rows["Fine"]["in the store"] == "Fine/0001 (in use)"
    assert (end.verdict, end.needs_action) == (Verdict.OK, 0)


def test_time_turns_healthy_into_due_urgent_and_expired_and_each_is_a_row(own: Sandbox) -> None:
    current = issue(own, "Ages").credential.current()
    assert current is not None
    for days, state in ((91, "healthy"), (89, "due"), (29, "urgent"), (0, "urgent"), (-1, "expired")):
        moment = iso(current.meta.not_after - timedelta(days=days, minutes=1))
        own.admin("PUT", "/clock", {"now": moment})
        rows, end, _ = take(own, clock=moment)
        assert (rows["Ages"]["state"], days) == (state, days)
        assert end.needs_action == (state != "healthy")
        assert rows["Ages"]["days left"] == str(days)


def test_a_short_lived_certificate_is_not_due_all_its_life(own: Sandbox) -> None:
    current = issue(own, "Short", {"DIGICERT_ONE_API_KEY": own.users()["ends_soon"]["api_key"]}).credential.current()
    assert current is not None
    rows, _, _ = take(own, {"DIGICERT_ONE_API_KEY": own.users()["ends_soon"]["api_key"]})
    assert rows["Short"]["state"] == "healthy"  # 30 of 30 days left: more than a third


def test_disabled_orphan_unreadable_and_mismatch_are_told_apart(own: Sandbox) -> None:
    for name in ("Disabled", "Orphan", "Unreadable", "Swapped", "Swapper"):
        issue(own, name)
    run(prepare(Access, own, name="Disabled", confirm="Disabled", allow_outage_of="Disabled", action="disable"))
    folder = Path(own.env["DIGICERT_ONE_STORE"]) / "sandbox"
    shutil.rmtree(folder / "Orphan")
    broken = folder / "Unreadable" / "0001" / "cert.pem"
    broken.chmod(0o600)
    broken.write_bytes(broken.read_bytes()[:200])
    for name in ("cert.pem", "identity.p12", "chain.pem"):
        target = folder / "Swapped" / "0001" / name
        target.chmod(0o600)
        shutil.copy(folder / "Swapper" / "0001" / name, target)
    shutil.copytree(folder / "Swapper", folder / "Missing", symlinks=True)
    rows, end, procedure = take(own)
    states = {name: row["state"] for name, row in rows.items()}
    assert states["Disabled"] == "disabled"
    assert states["Orphan"] == "orphan"
    assert states["Unreadable"] == "unreadable"
    assert states["Swapper"] == "healthy"
    assert states["Missing"] == "mismatch"  # a copy: the certificate is listed, under another name
    assert states["Swapped"] == "mismatch"
    assert len(procedure._rows) == 6
    assert end.verdict is Verdict.ATTENTION
    assert end.needs_action == 5  # the disabled one too: it is in use here
    todo = procedure.records[-1].result
    assert todo is not None
    assert {"Orphan", "Unreadable", "Missing"} <= {row[0] for row in todo.tables[0].rows}


def test_a_certificate_that_is_listed_nowhere_is_missing(own: Sandbox, fresh_sandbox: Callable[..., Sandbox]) -> None:
    other = fresh_sandbox()
    issue(other, "Moved here")
    folder = "sandbox/Moved here"
    shutil.copytree(
        f"{other.env['DIGICERT_ONE_STORE']}/{folder}", f"{own.env['DIGICERT_ONE_STORE']}/{folder}", symlinks=True
    )
    rows, end, _ = take(own)
    assert rows["Moved here"]["state"] == "missing"
    assert end.needs_action == 1


def test_an_api_that_does_not_answer_is_a_row_and_nothing_is_called_healthy(own: Sandbox) -> None:
    issue(own, "Known here")
    for environ, reason in (
        ({"DIGICERT_ONE_API_KEY": "wrong"}, Reason.API_KEY_REFUSED),
        ({"DIGICERT_ONE_CA_FILE": os.environ["SSL_CERT_FILE"]}, Reason.TLS_NOT_TRUSTED),
    ):
        rows, end, procedure = take(own, environ)
        assert {row["state"] for row in rows.values()} == {"unchecked"}
        assert "(DigiCert ONE)" in rows
        assert rows["Known here"]["why"] == "no list from DigiCert ONE"
        assert end.verdict is Verdict.UNCHECKED
        sources = procedure.records[0].result
        assert sources is not None
        assert "NO LIST" in sources.tables[0].rows[0][2]
        assert sources.reason == reason


def test_an_issuance_that_stopped_half_way_is_in_the_list_of_things_to_do(own: Sandbox) -> None:
    prepare(Issue, own, name="Half", confirm="Half").perform("generate-key-and-csr")
    _, _, procedure = take(own)
    todo = procedure.records[-1].result
    assert todo is not None
    assert ("Half", "unfinished") in {(row[0], row[1]) for row in todo.tables[0].rows}


def test_certificates_of_other_service_users_are_rows_and_not_orphans(own: Sandbox) -> None:
    issue(own, "Mine")
    issue(own, "Theirs", {"DIGICERT_ONE_API_KEY": own.users()["second"]["api_key"]})
    shutil.rmtree(Path(own.env["DIGICERT_ONE_STORE"]) / "sandbox" / "Theirs")
    rows, _, _ = take(own)
    assert rows["Theirs"]["owner"].startswith("another: ")
    assert rows["Theirs"]["state"] == "healthy"


def test_an_empty_account_is_an_answer(own: Sandbox) -> None:
    rows, end, procedure = take(own)
    assert rows == {}
    assert end.verdict is Verdict.OK
    result = procedure.records[1].result
    assert result is not None
    assert result.headline.startswith("There are no certificates")


def one(name: str, **more: Any) -> ClientAuthCertificate:
    return ClientAuthCertificate(**{"name": name, "end_date": "2027-06-01T00:00:00Z", "enabled": True, **more})


def classified(own: Sandbox, listing: Listing) -> tuple[list[dict[str, str]], Verdict]:
    """The rows of an inventory whose API gave this list."""
    procedure = prepare(Inventory, own)
    procedure.perform("collect")
    procedure._listed = listing
    result = procedure.perform("classify").result
    assert result is not None
    return [dict(zip(INVENTORY.columns, row, strict=True)) for row in result.tables[0].rows], result.verdict


def test_two_of_one_name_without_ids_are_two_rows_and_neither_is_joined_by_name_alone(own: Sandbox) -> None:
    issue(own, "Twice")
    listing = Listing((one("Twice"), one("Twice", end_date="2026-12-24T00:00:00Z")))
    rows, _ = classified(own, listing)
    assert [(row["name"], row["in the store"]) for row in rows].count(("Twice", "no")) == 2
    assert [row["state"] for row in rows if row["in the store"] != "no"] == ["missing"]


def test_one_without_an_id_or_a_serial_number_is_joined_by_name_and_end(own: Sandbox) -> None:
    current = issue(own, "Joined").credential.current()
    assert current is not None
    rows, _ = classified(own, Listing((one("Joined", end_date=current.meta.not_after),)))
    assert [(row["state"], row["in the store"]) for row in rows] == [("healthy", "Joined/0001 (in use)")]


def test_what_may_not_be_whole_says_so_and_calls_nothing_missing(own: Sandbox) -> None:
    issue(own, "Held")
    rows, verdict = classified(own, Listing((), (), "it announced 57 entries, but returned 0"))
    assert verdict is Verdict.UNCHECKED
    assert {row["name"]: row["state"] for row in rows} == {"(DigiCert ONE)": "unchecked", "Held": "unchecked"}


def test_an_entry_that_cannot_be_read_is_a_row(own: Sandbox) -> None:
    rows, verdict = classified(own, Listing((one("Fine", id="1"),), (Malformed("Odd", "2", "wrong: end_date"),)))
    assert verdict is Verdict.UNCHECKED
    odd = next(row for row in rows if row["name"] == "Odd")
    assert (odd["state"], odd["id"]) == ("unchecked", "2")
    assert "end_date" in odd["why"]

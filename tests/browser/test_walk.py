"""Notebooks 00 to 04, 06 and 07, clicked through in a real JupyterLab."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import expect

from runbook_lib.clock import iso
from runbook_lib.credentials.csr import Subject, build_csr, csr_pem
from tests.archive import bags, many
from tests.browser.conftest import Desk, Lab, records
from tests.conftest import Sandbox

pytestmark = pytest.mark.browser

Open = Callable[[str], Desk]
NAME = "Browser walk"
STEPS_OF_01 = (
    ("Change", "Generate a private key and CSR"),
    ("Change", "Request the client authentication certificate"),
    ("Change", "Extract and check the certificate"),
    ("Change", "Create the PKCS#12 file"),
    ("Change", "Prove the certificate and put it into use"),
    ("Check", "Hand over"),
)


def assert_kept(saved: dict[str, Any], sandbox: Sandbox, *words: str, verdict: str = "ok") -> None:
    """The file on disk holds the results as HTML and text, their records, and neither a secret nor a widget's state."""
    outputs = [output for cell in saved["cells"] for output in cell.get("outputs", [])]
    html = "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs)
    text = "".join("".join(output.get("data", {}).get("text/plain", "")) for output in outputs)
    for word in words:
        assert word in html
        assert word in text
    assert records(saved)[-1]["verdict"] == verdict
    whole = json.dumps(saved)
    assert sandbox.api_key not in whole
    assert sandbox.env["DIGICERT_ONE_P12_PASSWORD"] not in whole
    assert "PRIVATE KEY" not in whole
    assert "widgets" not in saved["metadata"]


def walk(desk: Desk, steps: tuple[tuple[str, str], ...]) -> None:
    for kind, title in steps:
        result = desk.do(title, kind)
        expect(result.locator(".dor-badge").first).to_have_text(re.compile("ok|nothing to do"))


def test_00_an_analyst_sees_that_everything_is_in_place(desk: Open, lab_sandbox: Sandbox):
    one = desk("00_start_here")
    one.run_all()
    one.button("Start").click()
    walk(
        one,
        (
            ("Check", "Connection: both hosts answer, and their TLS is trusted"),
            ("Check", "Clock: this machine and the server agree"),
            ("Check", "Credentials: each secret is where its reference points"),
            ("Check", "Service user: the API key works and may manage certificates"),
            ("Check", "Store: writable, and only by us"),
        ),
    )
    one.picture("00_start_here")
    assert_kept(one.save(), lab_sandbox, "Sandbox ordinary service user", "The clocks agree within")


def test_01_an_analyst_corrects_a_wrong_country_and_issues_a_certificate(desk: Open, lab_sandbox: Sandbox):
    one = desk("01_issue")
    one.run_all()
    one.fill(**{"Name": NAME, "Common name (CN)": NAME, "Country (C)": "USA"})
    wrong = one.page.get_by_role("alert").filter(has_text="Enter a two-letter code")
    expect(wrong).to_be_visible()
    expect(one.button("Start")).to_be_disabled()
    one.picture("01_issue-wrong-country")
    one.field("Country (C)").fill("US")
    expect(wrong).to_have_count(0)
    expect(one.button("Start")).to_be_enabled()
    expect(one.button("Change: Generate a private key and CSR")).to_be_disabled()
    one.button("Start").click()
    expect(one.field("Country (C)")).to_be_disabled()
    walk(one, STEPS_OF_01)
    summary = one.page.get_by_label("Summary", exact=True)
    expect(summary.locator(".dor-head")).to_contain_text("All steps succeeded.")
    one.picture("01_issue")
    saved = one.save()
    assert_kept(saved, lab_sandbox, f"DigiCert ONE issued “{NAME}”.", "curl", "All steps succeeded.")
    assert [record["record"] for record in records(saved)] == ["parameters", *["step"] * 6, "finish"]
    assert [one["name"] for one in lab_sandbox.admin("GET", "/certificates")] == [NAME]


def test_02_an_analyst_proves_that_the_certificate_works(desk: Open, lab_sandbox: Sandbox):
    one = desk("02_verify")
    one.run_all()
    one.fill(Name=NAME)
    one.button("Start").click()
    walk(
        one,
        (
            ("Check", "Open the credential"),
            ("Check", "Call the API over mTLS"),
            ("Check", "What the service user may do, and where mTLS is required"),
            ("Check", "Controls: the same request must fail without the certificate"),
        ),
    )
    one.picture("02_verify")
    assert_kept(one.save(), lab_sandbox, "SIGN_SM_HASH", "Without a certificate")


def test_03_a_certificate_in_use_is_disabled_only_when_it_is_named(desk: Open, lab_sandbox: Sandbox):
    one = desk("03_access")
    one.run_all()
    one.fill(Name=NAME)
    one.button("Start").click()
    walk(one, (("Check", "Prove the current state"),))
    refused = one.do("Disable the certificate", "Change")
    expect(refused).to_contain_text("allow_outage_of")
    expect(one.button(f"Try again: Disable “{NAME}” on sandbox")).to_be_enabled()
    one.picture("03_access-refused")
    one.button("Change the values").click()
    one.fill(**{"Allow outage of": NAME})
    one.button("Start").click()
    walk(
        one,
        (
            ("Check", "Prove the current state"),
            ("Change", "Disable the certificate"),
            ("Check", "Prove that access is gone"),
            ("Change", "Enable the certificate"),
            ("Check", "Prove that access is back"),
        ),
    )
    one.picture("03_access")
    assert_kept(one.save(), lab_sandbox, "is disabled", "HTTP 403", "is enabled")
    puts = [request for request in lab_sandbox.admin("GET", "/requests") if request["method"] == "PUT"]
    assert len(puts) == 2


def test_04_an_analyst_sees_which_certificates_need_somebody(desk: Open, lab_sandbox: Sandbox, lab: Lab):
    request_some(lab_sandbox, {"Batch importer": 12, "Edge gateway": 60, "Nightly signer": 250, "Old signer": 45})
    lab.set("@jupyterlab/apputils-extension:themes", {"theme": "JupyterLab Dark"})
    one = desk("04_inventory")
    one.run_all()
    one.button("Start").click()
    for title in (
        "Ask DigiCert ONE, and read the store",
        "Show the state of each certificate",
        "Read the folders",
        "What to do, and with which notebook",
    ):
        one.do(title)
    expect(one.page.get_by_role("img", name=re.compile("certificates; as of"))).to_be_visible()
    one.picture("04_inventory-dark")
    assert_kept(one.save(), lab_sandbox, "Batch importer", NAME, verdict="attention")
    lab.set("@jupyterlab/apputils-extension:themes", {"theme": "JupyterLab Light"})
    light = desk("04_inventory")
    expect(light.page.get_by_label("Summary", exact=True)).to_be_visible()  # as it was saved
    light.picture("04_inventory")


def test_06_an_auditor_reads_the_archive(desk: Open, lab_sandbox: Sandbox, tmp_path: Path):
    archive = tmp_path / "archive"
    bags.sign(archive)
    one = desk("06_archive")
    one.run_all()
    one.fill(**{"Archive": str(archive), "Period from": "November"})
    expect(one.page.get_by_role("alert").filter(has_text="must be a day")).to_be_visible()
    expect(one.button("Start")).to_be_disabled()
    one.field("Period from").fill("")
    record = many.Told("issue", bags.AT, changes=(("Request it", "ok", "DigiCert ONE issued “Signer”."),)).record()
    bags.put(archive, {"run.json": json.dumps(record).encode()}, job="issue")
    one.button("Start").click()
    for title in ("Verify the archive", "What ran", "Who changed what", "What is missing", "What is different"):
        one.do(title)
    expect(one.page.get_by_label("Result: Who changed what", exact=True)).to_contain_text("runbooks on build-7")
    one.picture("06_archive")
    assert_kept(one.save(), lab_sandbox, "Unchanged since it was sealed.", "Request it", verdict="attention")


@pytest.mark.soak
def test_07_an_error_is_looked_up(desk: Open, lab_sandbox: Sandbox):
    one = desk("07_troubleshoot")
    one.run_all()
    one.fill(**{"What you saw": "duplicate_error"})
    one.button("Start").click()
    walk(one, (("Check", "Look it up"),))
    one.picture("07_troubleshoot")
    assert_kept(one.save(), lab_sandbox, "A client certificate with this name already exists")


def test_a_password_typed_into_the_form_is_in_no_saved_notebook_even_with_its_widgets(
    desk: Open, lab: Lab, lab_sandbox: Sandbox, tmp_path: Path
):
    lab.set("@jupyter-widgets/jupyterlab-manager:plugin", {"saveState": True})
    one = desk("02_verify")
    one.run_all()
    one.fill(Name=NAME)
    one.field("P12 password").fill("prompt:")
    expect(one.page.get_by_role("alert").filter(has_text="type the secret")).to_be_visible()
    password = lab_sandbox.env["DIGICERT_ONE_P12_PASSWORD"]
    field = one.field("Type the P12 password")
    field.fill(password)
    field.blur()
    expect(field).to_have_value("")
    saved = one.save()  # before Start
    assert "widgets" in saved["metadata"]
    assert password not in json.dumps(saved)
    one.button("Start").click()
    walk(one, (("Check", "Open the credential"),))
    saved = one.save()
    state = json.dumps(saved["metadata"]["widgets"])
    assert NAME in state  # the widgets were saved
    assert lab_sandbox.env["DIGICERT_ONE_P12_PASSWORD"] not in json.dumps(saved)
    lab.set("@jupyter-widgets/jupyterlab-manager:plugin", {"saveState": False})


def request_some(sandbox: Sandbox, days: dict[str, int]) -> None:
    """Request certificates of several ages, without keeping their keys."""
    url = f"{sandbox.url}/account/api/v1/client-auth-certificate"
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(sandbox.ca_file)
        session.headers["x-api-key"] = sandbox.api_key
        for name, ahead in days.items():
            subject = Subject(common_name=name, organization="Your Organization", country="US")
            csr = csr_pem(build_csr(ec.generate_private_key(ec.SECP256R1()), subject))
            end = iso(datetime.now(UTC) + timedelta(days=ahead))
            answer = session.post(url, json={"csr": csr, "name": name, "expiration_date": end}, timeout=10)
            assert answer.status_code == 201, answer.text
            if name.startswith("Old"):
                session.put(f"{url}/{answer.json()['id']}/enable", json={"enabled": False}, timeout=10)

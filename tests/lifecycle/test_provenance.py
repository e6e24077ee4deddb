"""What a step records of whom and what it talked to is what openssl and the server say."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from runbook_lib.clock import FixedClock, parse_utc
from runbook_lib.procedures.doctor import Doctor
from runbook_lib.procedures.inventory import Inventory
from runbook_lib.procedures.verify import Verify
from runbook_lib.result import Seen, ServiceUser, StepRecord, read_record
from tests.conftest import Sandbox
from tests.procedures.conftest import issue, prepare, run


def fingerprint(url: str, ca_file: Path) -> str:
    """Of the certificate that a host shows, fetched apart from the client."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    pem = ssl.get_server_certificate((parts.hostname, parts.port), ca_certs=str(ca_file))
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def test_the_first_word_names_the_hosts_and_what_is_trusted(sandbox: Sandbox) -> None:
    target = prepare(Inventory, sandbox).begin(()).target
    assert target is not None
    assert (target.environment, target.api_url) == ("sandbox", sandbox.url)
    assert target.clientauth_url == sandbox.clientauth_url
    digest = hashlib.sha256(sandbox.ca_file.read_bytes()).hexdigest()
    assert (target.trust.source, target.trust.file, target.trust.sha256) == ("file", str(sandbox.ca_file), digest)
    system = prepare(Inventory, sandbox, environment="demo").begin(()).target
    assert system is not None
    assert system.api_url == "https://demo.one.digicert.com"
    assert system.trust.source == "system"
    if system.trust.file:
        assert system.trust.sha256 == hashlib.sha256(Path(system.trust.file).read_bytes()).hexdigest()


def test_parameters_that_name_no_environment_leave_it_open(sandbox: Sandbox) -> None:
    assert prepare(Inventory, sandbox, {"DIGICERT_ONE_URL": ""}).begin(()).target is None


def test_a_step_records_the_service_user_the_connection_and_the_server_s_clock(sandbox: Sandbox) -> None:
    procedure = prepare(Inventory, sandbox)
    run(procedure)
    seen = procedure.records[0].seen
    me = sandbox.users()["ordinary"]
    assert [one.id for one in seen.service_users] == [me["id"]]
    assert seen.service_users[0].name
    assert seen.service_users[0].accounts
    (connection,) = seen.connections
    assert connection.url == sandbox.url
    assert connection.protocol == "TLSv1.3"
    assert connection.sha256 == fingerprint(sandbox.url, sandbox.ca_file)
    assert seen.clock_ahead is not None
    assert abs(seen.clock_ahead) < 10
    assert procedure.records[1].seen == Seen()  # that step only counts
    assert read_record(procedure.records[0].model_dump(mode="json")) == procedure.records[0]


def test_over_mtls_too_and_the_refused_controls_add_nobody(sandbox: Sandbox) -> None:
    issue(sandbox, "Provenance")
    procedure = prepare(Verify, sandbox, name="Provenance")
    assert run(procedure).error is None
    seen = Seen.together(record.seen for record in procedure.records)
    assert {one.id for one in seen.service_users} == {sandbox.users()["ordinary"]["id"]}
    assert {one.url for one in seen.connections} == {sandbox.clientauth_url}


def test_what_was_not_seen_is_not_reported(sandbox: Sandbox, fresh_sandbox: Callable[..., Sandbox]) -> None:
    nobody = _first(prepare(Inventory, sandbox, {"DIGICERT_ONE_URL": "https://localhost:1"}))
    assert nobody.seen == Seen()
    strange = _first(prepare(Doctor, sandbox, {"DIGICERT_ONE_CA_FILE": str(fresh_sandbox().ca_file)}))
    assert strange.seen.connections == ()
    refused = prepare(Inventory, sandbox, {"DIGICERT_ONE_API_KEY": "wrong"})
    run(refused)
    assert refused.records[0].seen.service_users == ()
    assert len(refused.records[0].seen.connections) == 1  # it was answered: with a refusal


def test_a_server_whose_clock_is_ahead_is_recorded_as_such(fresh_sandbox: Callable[..., Sandbox]) -> None:
    sandbox = fresh_sandbox()
    sandbox.admin("PUT", "/clock", {"now": "2027-01-01T12:00:00Z"})
    procedure = prepare(Inventory, sandbox)
    procedure.session.clock = FixedClock(parse_utc("2027-01-01T11:00:00Z"))
    ahead = _first(procedure).seen.clock_ahead
    assert ahead is not None
    assert 3590 < ahead < 3620


def test_what_several_steps_saw_is_reported_once_and_the_worst_clock_counts() -> None:
    one, other = (ServiceUser(id=name, name="", accounts=()) for name in ("a", "b"))
    parts = (Seen(service_users=(one,), clock_ahead=1), Seen(service_users=(other, one), clock_ahead=-9), Seen())
    assert Seen.together(parts) == Seen(service_users=(one, other), clock_ahead=-9)
    assert Seen.together(()) == Seen()


def _first(procedure: Inventory | Doctor) -> StepRecord:
    return procedure.perform(procedure.steps()[0].slug)

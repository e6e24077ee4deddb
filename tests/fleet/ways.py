"""Every way in which an account of a batch can fail, each by a real cause; and a notebook in which all of them can.

The notebook runs a procedure as ours do, and may do what a notebook of somebody's own does. `NOT_HERE` says which
reasons no account can end with.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
import yaml
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from nbformat.v4 import new_code_cell, new_notebook

from runbook_lib.catalogue import Reason
from runbook_lib.clock import iso, parse_utc
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.rotate import Rotate
from tests.archive import bags
from tests.conftest import Sandbox
from tests.digicert.conftest import self_signed
from tests.procedures.conftest import issue, prepare, run

CELL_TIMEOUT, ACCOUNT_DEADLINE = 75, 100
"""Seconds, of the fleet: longer than a server that does not answer is waited for (twice 30)."""

BATCH = "the whole batch, not an account: it is refused before it begins, or its own record says so"
ARCHIVE = "a command on the archive"
ROW = "a row of an inventory of folders: the run goes on"
NOT_HERE: dict[Reason, str] = {
    Reason.SECRET_AS_VALUE: BATCH,
    Reason.UNKNOWN_NOTEBOOK: BATCH,
    Reason.ACCOUNTS_FAILED: BATCH,
    Reason.ACCOUNTS_MISSING: BATCH,
    Reason.ARCHIVE_FAILED: BATCH,
    Reason.NOT_SIGNED: BATCH,
    Reason.NOT_STAMPED: BATCH,
    Reason.NOT_SAVED: "a full disk under all runs: tests/procedures/test_disk.py",
    Reason.SIGNER_SHUT: ARCHIVE,
    Reason.NOT_WHOLE: ARCHIVE,
    Reason.NOTHING_EXPECTED: ARCHIVE,
    Reason.FILE_TOO_LARGE: ROW,
    Reason.LINK_NOT_FOLLOWED: ROW,
    Reason.NO_CERTIFICATE: ROW,
    Reason.KEY_IN_PLAIN_TEXT: ROW,
    Reason.P12_NOT_OPENED: ROW,
    Reason.OLD_ENCRYPTION: ROW,
    Reason.OUTCOME_UNKNOWN: "the account has no end then, and is missing: tests/fleet/test_batch.py",
    Reason.INTERRUPTED: "the account has no end then, and is missing",
    Reason.KERNEL_NOT_STARTED: "all accounts have one notebook, and its kernel is forked: tests/test_runner.py",
    Reason.ENGINE_FAILED: "the machine's memory or processes are at their limit, for all accounts",
}

NOTEBOOK = (
    """import os, signal, sys, time
from runbook_lib.audit.procedure import Audit
from runbook_lib.procedures.access import Access
from runbook_lib.procedures.inventory import Inventory
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.rotate import Rotate
from runbook_lib.procedures.verify import Verify
from runbook_lib.widgets import Runbook
os.environ.update(points_to)
exec(before)""",
    """kind = {one.slug: one for one in (Audit, Access, Inventory, Issue, Rotate, Verify)}[runs]
runbook = Runbook(kind, {"mode": "headless", **given})
for step in kind.steps()[-1:] if only_last else kind.steps():
    runbook.step(step.method)""",
    "runbook.finish()\nexec(after)",
)


def write_notebook(path: Path) -> None:
    """The notebook of the fleet: `runs` names a procedure, `given` are its parameters."""
    defaults = (
        "runs: str = 'inventory'\nonly_last: bool = False\npoints_to: dict = {}\ngiven: dict = {}\n"
        "before: str = ''\nafter: str = ''"
    )
    cells = [new_code_cell(defaults, metadata={"tags": ["parameters"]}), *map(new_code_cell, NOTEBOOK)]
    nb = new_notebook(cells=cells)
    nb.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": "python3"}
    nbformat.write(nb, path)


class Ways:
    """Makes each cause once. What it holds open, `held`, has to be held while the batch runs.

    Args:
        fresh: starts a sandbox of its own.
    """

    def __init__(self, folder: Path, sandbox: Sandbox, fresh: Callable[..., Sandbox], held: ExitStack) -> None:
        self.folder, self.sandbox, self.fresh, self.held = folder, sandbox, fresh, held
        (folder / "keys").mkdir()
        self.key = self.secret("ordinary", sandbox.api_key)
        self.password = self.secret("password", sandbox.env["DIGICERT_ONE_P12_PASSWORD"])
        self._stores = 0

    def secret(self, name: str, value: str, mode: int = 0o600) -> str:
        path = self.folder / "keys" / name
        path.write_text(value)
        path.chmod(mode)
        return f"file:{path}"

    def faulty(self, *rules: dict[str, Any]) -> Sandbox:
        path = self.folder / "faults.yaml"
        path.write_text(yaml.safe_dump(list(rules)))
        return self.fresh(faults=path)

    def store(self) -> str:
        """A store of its own, which nobody made yet."""
        self._stores += 1
        return str(self.folder / "stores" / str(self._stores))

    def owner(self, box: Sandbox | None = None, name: str = "Way", key: str = "", **more: Any) -> dict[str, Any]:
        """A service user's parameters for a notebook that works with a credential; nothing is issued."""
        box = box or self.sandbox
        key = key or box.api_key
        secrets = {
            "api_key": self.secret(f"key of {self._stores}", key),
            "p12_password": self.secret(f"password of {self._stores}", box.env["DIGICERT_ONE_P12_PASSWORD"]),
        }
        return {"name": name, "store": self.store(), "key_kind": "p-256", **secrets, **more}

    def issued(self, box: Sandbox | None = None, name: str = "Way", key: str = "", **more: Any) -> dict[str, Any]:
        """The same, with a certificate of that name in the store."""
        box, own = box or self.sandbox, self.owner(box, name, key, **more)
        issue(box, name, {"DIGICERT_ONE_STORE": own["store"], "DIGICERT_ONE_API_KEY": key or box.api_key})
        return own

    def begun(self, name: str, steps: int, **more: Any) -> tuple[Issue, dict[str, Any]]:
        """An issuance that somebody stopped after so many steps, and the parameters to go on with it."""
        own = self.owner(name=name, confirm=name)
        procedure = prepare(
            Issue,
            self.sandbox,
            {"DIGICERT_ONE_STORE": own["store"]},
            name=name,
            confirm=name,
            key_kind="p-256",
            **more,
        )
        for step in procedure.steps()[:steps]:
            assert procedure.perform(step.slug).error is None
        return procedure, own

    def points_to(self, box: Sandbox) -> dict[str, str]:
        return {name: box.env[name] for name in box.env if name.endswith(("_URL", "CA_FILE")) and "ADMIN" not in name}

    def few(self) -> list[tuple[Reason, dict[str, Any]]]:
        """Those that need little: an account's parameters, and the reason it has to be listed with."""
        users, key = self.sandbox.users(), self.key
        other_ca = str(self.fresh().ca_file)

        def asks(**given: Any) -> dict[str, Any]:
            return {"given": {"api_key": key, **given}}

        return [
            (Reason.API_KEY_REFUSED, asks(api_key=self.secret("wrong", "0" * 26 + "_" + "0" * 64))),
            (Reason.API_KEY_REFUSED, asks(api_key=self.secret("expired", users["expired"]["api_key"]))),
            (Reason.API_KEY_REFUSED, asks(api_key=self.secret("disabled", users["disabled"]["api_key"]))),
            (Reason.API_KEY_MALFORMED, asks(api_key=self.secret("two lines", "one\ntwo"))),
            (Reason.NO_ACCESS, asks(api_key=self.secret("no permission", users["no_permission"]["api_key"]))),
            (Reason.UNREACHABLE, asks(environment="https://localhost:1")),
            (Reason.UNREACHABLE, asks(environment="https://no-such-host.invalid")),
            (Reason.TLS_NOT_TRUSTED, asks(ca_file=other_ca)),
            (Reason.SECRET_NOT_FOUND, asks(api_key=f"file:{self.folder}/keys/none")),
            (Reason.SECRET_NOT_FOUND, asks(api_key="env:NO_SUCH_VARIABLE")),
            (Reason.SECRET_EXPOSED, asks(api_key=self.secret("open", self.sandbox.api_key, 0o644))),
            (Reason.BAD_PARAMETER, asks(due_days=0)),
            (Reason.BAD_PARAMETER, asks(environment="http://localhost")),
            (Reason.UNKNOWN_PARAMETER, asks(due_dais=60)),
            (Reason.STEP_OUT_OF_ORDER, {**asks(), "only_last": True}),
            (Reason.NOTEBOOK_ERROR, {**asks(), "before": "1 / 0"}),
            (Reason.NOTEBOOK_STOPPED_EARLY, {**asks(), "before": "sys.exit(0)"}),
            (Reason.KERNEL_DIED, {**asks(), "before": "os.kill(os.getpid(), 9)"}),
            (Reason.SECRET_IN_ARTEFACT, {**asks(), "before": f"print(open({key.removeprefix('file:')!r}).read())"}),
        ]

    def every(self) -> list[tuple[Reason, dict[str, Any]]]:
        """All of them."""
        servers = [*self._servers(), *self._strangers()]
        return [*self.few(), *servers, *self._issuances(), *self._credentials(), *self._changes(), *self._runs()]

    def _servers(self) -> list[tuple[Reason, dict[str, Any]]]:
        later = {"retry_after": 0}
        faults: list[tuple[Reason, dict[str, Any]]] = [
            (Reason.SERVER_ERROR, {"fault": "internal_server_error"}),
            (Reason.SERVER_ERROR, {"fault": "service_unavailable", **later}),
            (Reason.SERVER_ERROR, {"fault": "html_page"}),
            (Reason.RATE_LIMITED, {"fault": "too_many_requests", **later}),
            (Reason.UNEXPECTED_ANSWER, {"fault": "empty_answer"}),
            (Reason.UNREACHABLE, {"fault": "drop_before"}),
            (Reason.UNREACHABLE, {"fault": "truncated"}),
            (Reason.TIMED_OUT, {"fault": "delay_before", "seconds": 40}),
            (Reason.CLOCK_WRONG, {"fault": "clock_skew", "seconds": 3600}),
        ]
        found = []
        for number, (reason, rule) in enumerate(faults):
            box = self.faulty(rule)
            key = self.secret(f"at {number}", box.api_key)
            found.append((reason, {"given": {"api_key": key}, "points_to": self.points_to(box)}))
        return found

    def _strangers(self) -> list[tuple[Reason, dict[str, Any]]]:
        """Servers that stand where DigiCert ONE should, or say what the sandbox does not."""
        lost = self._says(404, {"error": "not found"})
        plain = self._says(403, {"errors": [{"code": "403", "message": "User is not multi-factor authenticated"}]})
        everybody = self._says(200, {"id": "u1", "status": "ACTIVE", "user_type": "service"})
        own = self.issued(name="Let in")
        mtls = {**everybody, "DIGICERT_ONE_URL": self.sandbox.url}
        ca_file = Path(mtls["DIGICERT_ONE_CA_FILE"])
        ca_file.write_text(ca_file.read_text() + self.sandbox.ca_file.read_text())
        return [
            (Reason.NOT_FOUND, {"given": {"api_key": self.key}, "points_to": lost}),
            (Reason.NOT_MULTI_FACTOR, {"given": {"api_key": self.key}, "points_to": plain}),
            (Reason.CONTROL_FAILED, {"runs": "verify", "given": own, "points_to": mtls}),
        ]

    def _says(self, status: int, body: dict[str, Any]) -> dict[str, str]:
        """The variables that point to a server which answers every request like this."""
        content = json.dumps(body).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        ca_file, context = self_signed(self.folder / f"answers {status}")
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        self.held.callback(server.server_close)
        self.held.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"https://localhost:{server.server_address[1]}"
        return {
            "DIGICERT_ONE_URL": url,
            "DIGICERT_ONE_CLIENTAUTH_URL": url,
            "DIGICERT_ONE_CA_FILE": str(ca_file),
        }

    def _issuances(self) -> list[tuple[Reason, dict[str, Any]]]:
        rules = [
            {"fault": "other_key", "name": "Other key*"},
            {"fault": "wrong_eku", "name": "Other use*"},
            {"fault": "slow_enable", "name": "Slow", "lag": 1000},
        ]
        self.sandbox.admin("PUT", "/faults", {"seed": 1, "rules": rules})

        def asks(name: str, **more: Any) -> dict[str, Any]:
            return {"runs": "issue", "given": self.owner(name=name, **{"confirm": name, **more})}

        self.issued(name="Taken")
        edited, own = self.begun("Edited", 1)
        text = edited.credential.journal_path.read_text()
        edited.credential.journal_path.write_text(text.replace("Your Organization", "Their Organization"))
        busy, busy_own = self.begun("Busy", 1)
        self.held.enter_context(busy.credential.lock())
        _, other = self.begun("Another", 2, organization="First")
        (self.folder / "file").write_text("in the way")
        open_store = self.folder / "open"
        open_store.mkdir(mode=0o755)
        open_store.chmod(0o755)
        ahead = iso(datetime.now(UTC) + timedelta(days=3))
        return [
            (Reason.CONFIRMATION_MISSING, asks("Unconfirmed", confirm="")),
            (Reason.WEAK_PASSWORD, asks("Weak", p12_password=self.secret("weak", "short"))),
            (Reason.DUPLICATE_NAME, asks("Taken")),
            (Reason.KEY_MISMATCH, asks("Other key")),
            (Reason.LINT_FAILED, asks("Other use")),
            (Reason.INVALID_INPUT, asks("Too long", clock=ahead)),
            (Reason.STORE_EXPOSED, asks("Exposed", store=str(open_store))),
            (Reason.STORE_NOT_WRITABLE, asks("In the way", store=str(self.folder / "file" / "store"))),
            (Reason.JOURNAL_DAMAGED, {"runs": "issue", "given": own}),
            (Reason.BUSY, {"runs": "issue", "given": busy_own}),
            (Reason.CONFLICTING_PARAMETER, {"runs": "issue", "given": {**other, "organization": "Third"}}),
        ]

    def _credentials(self) -> list[tuple[Reason, dict[str, Any]]]:
        def verify(own: dict[str, Any], box: Sandbox | None = None, **more: Any) -> dict[str, Any]:
            points_to = {"points_to": self.points_to(box)} if box else {}
            return {"runs": "verify", "given": {**own, **more}, **points_to}

        whole = self.issued(name="Whole")
        p12 = Path(whole["store"]) / "sandbox" / "Whole" / "0001" / "identity.p12"
        password = self.sandbox.env["DIGICERT_ONE_P12_PASSWORD"].encode()
        _, certificate, _ = pkcs12.load_key_and_certificates(p12.read_bytes(), password)
        sealed = BestAvailableEncryption(password)
        keyless, torn = self.folder / "keyless.p12", self.folder / "torn.p12"
        keyless.write_bytes(pkcs12.serialize_key_and_certificates(b"x", None, certificate, None, sealed))
        torn.write_bytes(p12.read_bytes()[:500])
        off = self.issued(name="Off")
        self._switch_off("Off")

        late, early, elsewhere = self.fresh(), self.fresh(), self.fresh()
        old, young = self.issued(late, "Old"), self.issued(early, "Young")
        after, before = self._clock(late, timedelta(days=398)), self._clock(early, timedelta(days=-2))
        rooted = self.fresh(clientauth_trusts="root")
        chain = self.issued(rooted, "Chain")
        full = (Path(chain["store"]) / "sandbox" / "Chain" / "0001" / "identity.p12").read_bytes()
        secret = rooted.env["DIGICERT_ONE_P12_PASSWORD"].encode()
        key, certificate, _ = pkcs12.load_key_and_certificates(full, secret)
        bare = self.folder / "bare.p12"
        bare.write_bytes(
            pkcs12.serialize_key_and_certificates(b"x", key, certificate, None, BestAvailableEncryption(secret))  # type: ignore[arg-type]
        )
        there = {"api_key": self.secret("elsewhere", elsewhere.api_key)}
        return [
            (Reason.NO_CREDENTIAL, verify(self.owner(name="Nobody"))),
            (Reason.WRONG_PASSWORD, verify(whole, p12_password=self.secret("other password", "0" * 64))),
            (Reason.P12_WITHOUT_KEY, verify(whole, p12_file=str(keyless))),
            (Reason.UNREADABLE_FILE, verify(whole, p12_file=str(torn))),
            (Reason.CERTIFICATE_DISABLED, verify(off)),
            (Reason.CERTIFICATE_REFUSED, verify(off, api_key=self.secret("wrong key", "0" * 26 + "_" + "1" * 64))),
            (Reason.CERTIFICATE_EXPIRED, {**verify(old, late), **after}),
            (Reason.CERTIFICATE_NOT_YET_VALID, {**verify(young, early), **before}),
            (Reason.WRONG_ENVIRONMENT, verify(whole, elsewhere, **there)),
            (Reason.CERTIFICATE_UNKNOWN, verify(whole, elsewhere, **there, p12_file=str(p12))),
            (Reason.CHAIN_MISSING, verify(chain, rooted, p12_file=str(bare))),
        ]

    def _clock(self, box: Sandbox, ahead: timedelta) -> dict[str, Any]:
        """Set that sandbox's clock, and give what sets the run's: to the moment at which it will run."""
        box.admin("PUT", "/clock", {"offset_seconds": ahead.total_seconds()})
        moment = f"d.datetime.now(d.UTC) + d.timedelta(seconds={ahead.total_seconds()})"
        return {"before": f"import datetime as d\ngiven['clock'] = f'{{{moment}:%Y-%m-%dT%H:%M:%SZ}}'"}

    def _switch_off(self, name: str) -> None:
        procedure = prepare(Rotate, self.sandbox, name=name)
        with procedure.session.api() as api:
            one = next(one for one in api.certificates() if one.name == name)
            api.set_enabled(one.id or "", False)

    def _changes(self) -> list[tuple[Reason, dict[str, Any]]]:
        def access(own: dict[str, Any], **more: Any) -> dict[str, Any]:
            name = own["name"]
            return {"runs": "access", "given": {**own, "action": "disable", "confirm": name, **more}}

        def rotate(own: dict[str, Any], box: Sandbox | None = None, **more: Any) -> dict[str, Any]:
            points_to = {"points_to": self.points_to(box)} if box else {}
            return {"runs": "rotate", "given": {**own, "confirm": own["name"], **more}, **points_to}

        alone, two = (self.sandbox.admin("POST", "/users")["api_key"] for _ in range(2))
        only = self.issued(name="Only", key=alone)
        self.issued(name="Second of two", key=two)
        used = self.issued(name="First of two", key=two)
        moved = self.issued(name="Moved")
        self._rotated(moved, self.sandbox)
        current = Path(moved["store"]) / "sandbox" / "Moved" / "current"
        current.unlink()
        current.symlink_to("0001")

        ending, set_back = self.fresh(), self.fresh()
        user = ending.users()["ends_soon"]
        soon = self.issued(ending, "Soon", user["api_key"])
        near = self._clock(ending, parse_utc(user["end_date"]) - timedelta(days=5) - datetime.now(UTC))
        ahead, later = self.issued(set_back, "Ahead"), iso(datetime.now(UTC) + timedelta(days=2))
        set_back.admin("PUT", "/clock", {"now": later})
        self._rotated(ahead, set_back, clock=later)
        set_back.admin("PUT", "/clock", {"now": iso(datetime.now(UTC))})
        return [
            (Reason.LAST_WORKING_CERTIFICATE, access(only)),
            (Reason.CERTIFICATE_IN_USE, access(used)),
            (Reason.STILL_ACCEPTED, access(self.issued(name="Slow"), allow_outage_of="Slow")),
            (Reason.HOOK_FAILED, rotate(self.issued(name="Hooked"), rotate_now=True, hook="false")),
            (Reason.ROTATION_POINTLESS, {**rotate(soon, ending), **near}),
            (Reason.STATE_CONTRADICTION, rotate(moved)),
            (Reason.CLOCK_WENT_BACK, rotate(ahead, set_back)),
        ]

    def _rotated(self, own: dict[str, Any], box: Sandbox, clock: str = "system") -> None:
        given = {"name": own["name"], "confirm": own["name"], "rotate_now": True, "clock": clock}
        record = run(prepare(Rotate, box, {"DIGICERT_ONE_STORE": own["store"]}, **given))
        assert record.error is None, record.error

    def _runs(self) -> list[tuple[Reason, dict[str, Any]]]:
        pipes, files = self.folder / "pipes", self.folder / "files"
        pipes.mkdir()
        os.mkfifo(pipes / "pipe.pem")
        files.mkdir()
        shutil.copy(self.sandbox.ca_file, files / "ca.pem")
        archive = bags.small(self.folder / "old archive", signed=False, bags=1)
        reads: dict[str, Any] = {"given": {"api_key": self.key, "folders": [str(files)]}}
        full = (
            "import resource; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))"
        )
        changes = "import pathlib\npathlib.Path(os.environ['RUNBOOK_TABLES'], 'files.csv').write_text('other')"
        sleeps = f"time.sleep({CELL_TIMEOUT - 15})"
        return [
            (Reason.FILE_NOT_READ, {"given": {"api_key": self.key, "folders": [str(pipes)]}}),
            (Reason.TABLE_NOT_WRITTEN, {**reads, "points_to": {"RUNBOOK_TABLES": "/proc/none"}}),
            (Reason.DISK_FULL, {**reads, "before": full}),
            (Reason.TABLE_CHANGED, {**reads, "after": changes}),
            (Reason.NOT_PROVEN, {"runs": "archive", "given": {"archive": str(archive), "known_head": "0" * 64}}),
            (Reason.CELL_TIMEOUT, {**reads, "before": "time.sleep(600)"}),
            (Reason.RUN_DEADLINE, {**reads, "before": sleeps, "after": sleeps}),
        ]

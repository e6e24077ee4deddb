"""The sandbox's process: three listeners on loopback, from start to SIGTERM."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shlex
import signal
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from runbook_lib.clock import SystemClock
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.sandbox.admin import admin_application
from runbook_lib.sandbox.alerts import send_alerts
from runbook_lib.sandbox.api import AccountManager
from runbook_lib.sandbox.ca import Authority, certificate_pem
from runbook_lib.sandbox.faults import Faults, read_rules
from runbook_lib.sandbox.options import Options
from runbook_lib.sandbox.seed import populate, seed
from runbook_lib.sandbox.state import SandboxClock, SandboxStore

_LOOPBACK = "127.0.0.1"
# below the range that Linux gives to outgoing connections: a port is still free after a stop and a start
_PORTS = range(20_000, 32_000)

_log = logging.getLogger(__name__)


def serve_listeners(state: Path, options: Options, ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C. `ready` is called once all three listeners answer and sandbox.env is written.

    Raises:
        RunbookError: BAD_PARAMETER for a port that is taken, UNREADABLE_FILE for a damaged CA.
    """
    send_alerts()
    store = SandboxStore(state / "sandbox.db")
    try:
        asyncio.run(_serve(state, options, store, ready))
    finally:
        store.close()


async def _serve(state: Path, options: Options, store: SandboxStore, ready: Callable[[], None]) -> None:
    machine = SystemClock()
    clock = SandboxClock(store, machine)
    authority = Authority.open(state / "ca")
    seed(store, clock.now())
    populate(store, options.populate, clock.now())
    faults = Faults()
    if options.faults:
        faults.set(read_rules(json.loads(options.faults)), options.fault_seed)
    manager = AccountManager(store, authority, clock, faults)
    token = store.setting("admin_token", secrets.token_hex(32))

    def write_env() -> None:
        _write(state / "sandbox.env", _env(state, store, token, faults.seed))

    listeners: list[tuple[str, int, web.Application, ssl.SSLContext | None]] = [
        ("port", options.port, manager.application("api"), authority.api_context(machine)),
        (
            "clientauth_port",
            options.clientauth_port,
            manager.application("clientauth"),
            authority.clientauth_context(machine, options.clientauth_trusts),
        ),
        ("admin_port", 0, admin_application(store, clock, faults, token, write_env), None),
    ]
    runners: list[web.AppRunner] = []
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        for name, wanted, app, context in listeners:
            # no access log: our own journal holds no headers
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            runners.append(runner)
            await web.SockSite(runner, _bind(store, name, wanted), ssl_context=context).start()
        _write(state / "ca.pem", certificate_pem(authority.root))
        write_env()
        ready()
        await stopped.wait()
    finally:
        for runner in runners:
            await runner.cleanup()


def _bind(store: SandboxStore, name: str, wanted: int) -> socket.socket:
    """A bound socket: on the wanted port, else on that of the last start, else on a free one, which is kept."""
    kept = int(store.setting(name, "0"))
    for port in (wanted,) if wanted else (kept, *secrets.SystemRandom().sample(_PORTS, 50)):
        if not port:
            continue
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((_LOOPBACK, port))
            # with SO_REUSEADDR two sockets may bind one port, but only one may listen
            bound.listen(128)
        except (OSError, OverflowError):
            bound.close()
            continue
        if kept and port != kept and not wanted:
            _log.warning("Port %d of the last start is taken. Credentials made there belong to that port.", kept)
        store.set(name, str(port))
        return bound
    what = (
        f"Port {wanted} cannot be used: it is taken or not allowed." if wanted else "No free loopback port was found."
    )
    raise RunbookError(Reason.BAD_PARAMETER, what, remedy="Choose another port, or let the sandbox choose.")


def _env(state: Path, store: SandboxStore, token: str, fault_seed: int | None) -> str:
    ordinary = next(user for user in store.users() if user.role == "ordinary")
    values = {
        "DIGICERT_ONE_URL": f"https://localhost:{store.setting('port', '')}",
        "DIGICERT_ONE_CLIENTAUTH_URL": f"https://localhost:{store.setting('clientauth_port', '')}",
        "DIGICERT_ONE_CA_FILE": str(state / "ca.pem"),
        "DIGICERT_ONE_API_KEY": ordinary.api_key,
        "DIGICERT_ONE_ADMIN_URL": f"http://{_LOOPBACK}:{store.setting('admin_port', '')}",
        "DIGICERT_ONE_ADMIN_TOKEN": token,
        # keeps practice apart from real credentials
        "DIGICERT_ONE_STORE": str(state / "store"),
        "DIGICERT_ONE_P12_PASSWORD": store.setting("p12_password", secrets.token_hex(32)),
    }
    if fault_seed is not None:
        values["DIGICERT_ONE_FAULT_SEED"] = str(fault_seed)
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def _write(path: Path, text: str) -> None:
    """Replace a file atomically, readable by its owner only (the process's umask is 077)."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)

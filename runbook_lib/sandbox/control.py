"""Starts and stops the sandbox.

The process holds a lock on `sandbox.lock` as long as it lives, and writes its status there. The kernel releases the
lock when the process ends, however it ends, so a stale file cannot be mistaken for a running sandbox.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil

from runbook_lib import disk, programs
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.sandbox.options import Options, Trusts

_START_SECONDS = 60.0  # populating thousands of users included
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.01


def start(
    state: Path,
    *,
    foreground: bool = False,
    port: int = 0,
    clientauth_port: int = 0,
    clientauth_trusts: Trusts = "intermediate",
    populate: int = 0,
    faults: Path | None = None,
    fault_seed: int | None = None,
) -> Path:
    """Start the sandbox whose state is in `state`, and return the path of its `sandbox.env` once it answers.

    A running sandbox is left as it is (call `is_running` first to tell the two apart).

    Args:
        state: a folder with everything the sandbox knows, made if it is missing.
        foreground: serve in this process until SIGTERM or Ctrl-C, then return.
        port, clientauth_port: 0 for the ports of the last start, or free ones.
        clientauth_trusts: with `root`, the clientauth host accepts a certificate only with its chain.
        populate: how many service users with certificates of all ages to have besides the seeded ones.
        faults: a file of rules (`faults.Rule`), in force until the sandbox ends or the admin API changes them.
        fault_seed: for rules with a probability; None draws one and writes it into sandbox.env.

    Raises:
        RunbookError: BAD_PARAMETER for a port that is taken, a malformed file of faults, or options that differ from
            those of the running sandbox; STORE_NOT_WRITABLE for a folder that cannot be written; UNREACHABLE if the
            sandbox does not start.
    """
    options = Options(port, clientauth_port, clientauth_trusts, populate, _rules(faults), fault_seed)
    _check(options)
    state = _prepare(state)
    if foreground:
        if not serve_sandbox(state, options):
            _demand_same(options, state)
        return state / "sandbox.env"
    if _is_locked(state):
        _demand_same(options, state)
    else:
        _wait_until_ready(state, _spawn(state, options), options)
    return state / "sandbox.env"


def stop(state: Path) -> None:
    """End the sandbox of `state`, and return when it has ended. Does nothing if it is not running."""
    state = state.absolute()
    if not _is_locked(state):
        return
    with suppress(psutil.NoSuchProcess):
        # psutil pins the process, then the lock is checked again: the number may belong to another process by now
        process = psutil.Process(_pid(state))
        if not _is_locked(state):
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(_STOP_SECONDS)


def is_running(state: Path) -> bool:
    """Whether the sandbox of `state` is running and ready."""
    return _is_locked(state.absolute()) and _status(state.absolute()).get("phase") == "ready"


def fault_seed_of(env: Path) -> str:
    """The seed in a `sandbox.env`; empty if no faults are on."""
    lines = env.read_text(encoding="utf-8").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("DIGICERT_ONE_FAULT_SEED=")), "")


def serve_sandbox(state: Path, options: Options) -> bool:
    """Run the sandbox in this process until it is stopped. False if another process runs it already.

    Raises:
        RunbookError: as `start`.
    """
    from runbook_lib.sandbox.listeners import serve_listeners  # only the process that serves needs to load a server

    os.umask(0o077)
    with _lock(state) as file:
        if file is None:
            return False
        base = {"pid": os.getpid(), "options": asdict(options)}
        _write_status(file, {**base, "phase": "starting"})
        try:
            serve_listeners(state, options, lambda: _write_status(file, {**base, "phase": "ready"}))
        except RunbookError as error:
            _write_status(file, {**base, "phase": "failed", "reason": error.reason, "what": error.what})
            raise
        _write_status(file, {"phase": "stopped"})
        return True


def _check(options: Options) -> None:
    for name, port in (("port", options.port), ("clientauth port", options.clientauth_port)):
        if not 0 <= port <= 65_535:
            raise RunbookError(Reason.BAD_PARAMETER, f"{name}: {port} must be from 0 to 65535.")
    if options.port and options.port == options.clientauth_port:
        raise RunbookError(Reason.BAD_PARAMETER, f"The two hosts must have different ports; both have {options.port}.")
    if options.fault_seed is not None and not options.faults:
        raise RunbookError(Reason.BAD_PARAMETER, "A fault seed needs faults, but there are none.")
    if options.populate < 0:
        raise RunbookError(Reason.BAD_PARAMETER, f"populate: {options.populate} must be 0 or more.")


def _rules(file: Path | None) -> str:
    if file is None:
        return ""
    from runbook_lib.sandbox.faults import read_rules_file  # only a start with faults needs pydantic

    rules = read_rules_file(file)
    return json.dumps([rule.model_dump(exclude_unset=True) for rule in rules]) if rules else ""


def _prepare(state: Path) -> Path:
    state = state.absolute()
    try:
        state.mkdir(parents=True, exist_ok=True)
        # a folder with other things in it keeps its mode; all our files are private anyway
        if (state / "sandbox.db").exists() or not any(state.iterdir()):
            state.chmod(0o700)
        (state / "sandbox.lock").touch(mode=0o600)
    except OSError as error:
        raise RunbookError(Reason.STORE_NOT_WRITABLE, f"{state} cannot be used: {error.strerror}.") from None
    return state


def _spawn(state: Path, options: Options) -> subprocess.Popen[bytes]:
    # -P: a file of the current folder must not stand in for a module of ours
    command = [sys.executable, "-P", "-m", "runbook_lib.sandbox", str(state), json.dumps(asdict(options))]
    descriptor = os.open(state / "sandbox.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            command,
            env=programs.for_python(os.environ),
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=state,  # keeps no other folder busy
            start_new_session=True,  # the terminal's Ctrl-C and hang-up must not reach it
        )
    finally:
        os.close(descriptor)


def _wait_until_ready(state: Path, child: subprocess.Popen[bytes], options: Options) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        ended = child.poll() is not None
        status = _status(state)
        match status:
            case {"pid": child.pid, "phase": "ready"}:
                child.returncode = 0  # it lives on without us; Popen would warn that nobody waited for it
                return
            case {"pid": child.pid, "phase": "failed", "reason": str(reason), "what": str(what)}:
                child.wait()
                raise RunbookError(Reason(reason), what)
        if ended and _is_locked(state):  # another start came first
            return _demand_same(options, state)
        if ended:
            break
        time.sleep(_POLL_SECONDS)
    else:
        child.kill()
        child.wait()
    log = state / "sandbox.log"
    raise RunbookError(Reason.UNREACHABLE, "The sandbox did not start.", remedy=f"Read the end of {log}.")


def _demand_same(options: Options, state: Path) -> None:
    """Refuse options that differ from those of the running sandbox, which is not changed."""
    deadline = time.monotonic() + _START_SECONDS
    while (status := _status(state)).get("phase") != "ready":
        if time.monotonic() > deadline or not _is_locked(state):
            raise RunbookError(
                Reason.UNREACHABLE, f"Another process tried to start the sandbox in {state}, but it did not start."
            )
        time.sleep(_POLL_SECONDS)
    default = asdict(Options())
    running = default | status["options"]  # one that an older version started has fewer options
    different = [name for name, asked in asdict(options).items() if asked not in (running[name], default[name])]
    if different:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"The sandbox in {state} is already running with different options: {', '.join(different)}.",
            remedy=f"Stop it with `runbook sandbox stop --state {state}`, then start it again.",
        )


@contextmanager
def _lock(state: Path, *, shared: bool = False) -> Iterator[int | None]:
    """The lock's open file, or None if a sandbox holds it."""
    descriptor = os.open(state / "sandbox.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor if _flock(descriptor, shared) else None
    finally:
        os.close(descriptor)


def _flock(descriptor: int, shared: bool) -> bool:
    # a reader holds a shared lock for an instant, which must not keep a sandbox from starting
    for _ in range(1 if shared else 20):
        if disk.try_lock(descriptor, shared=shared):
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _is_locked(state: Path) -> bool:
    if not (state / "sandbox.lock").exists():
        return False
    with _lock(state, shared=True) as descriptor:
        return descriptor is None


def _write_status(descriptor: int, status: dict[str, Any]) -> None:
    text = json.dumps(status).encode()
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))


def _pid(state: Path) -> int:
    """The number of the process that holds the lock, which writes it right after taking the lock."""
    deadline = time.monotonic() + _STOP_SECONDS
    while not isinstance(pid := _status(state).get("pid"), int):
        if time.monotonic() > deadline:
            raise psutil.NoSuchProcess(0)
        time.sleep(_POLL_SECONDS)
    return pid


def _status(state: Path) -> dict[str, Any]:
    try:
        status = json.loads((state / "sandbox.lock").read_bytes())
    except (OSError, ValueError):
        return {}
    return status if isinstance(status, dict) else {}

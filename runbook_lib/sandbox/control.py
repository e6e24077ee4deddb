"""Starting and stopping the sandbox.

The process holds a lock on `sandbox.lock` as long as it lives, and says there how far it is. The kernel frees the lock
when the process ends in whatever way, so nothing stale can be mistaken for a running sandbox.
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

    A sandbox that runs already is left as it is (ask `is_running` first to tell the two apart).

    Args:
        state: a folder, made if need be; everything the sandbox knows is in it.
        foreground: serve in this process until SIGTERM or Ctrl-C, and return after that.
        port, clientauth_port: 0 for the ports of the last start, or free ones.
        clientauth_trusts: with `root`, the clientauth host accepts a certificate only with its chain.
        populate: how many service users of all certificate ages there have to be besides the seeded ones.
        faults: a file of rules (`faults.Rule`), in force until the sandbox ends or is told otherwise.
        fault_seed: of the rules that have a probability; None to draw one, which sandbox.env then tells.

    Raises:
        RunbookError: BAD_PARAMETER for a port that is taken, for a bad file of faults, or for options that a
            running sandbox does not have, STORE_NOT_WRITABLE for a folder that cannot be written, UNREACHABLE if it
            does not come up.
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
    """End the sandbox of `state` and return when it has ended. One that does not run is left in peace."""
    state = state.absolute()
    if not _is_locked(state):
        return
    with suppress(psutil.NoSuchProcess):
        # the process is pinned while it is seen to hold the lock: a number alone may belong to somebody else by now
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
    """Whether the sandbox of `state` runs now."""
    return _is_locked(state.absolute()) and _status(state.absolute()).get("phase") == "ready"


def fault_seed_of(env: Path) -> str:
    """The seed that a `sandbox.env` tells, or nothing while no faults are on."""
    lines = env.read_text(encoding="utf-8").splitlines()
    return next((line.partition("=")[2] for line in lines if line.startswith("DIGICERT_ONE_FAULT_SEED=")), "")


def serve_sandbox(state: Path, options: Options) -> bool:
    """Be the sandbox, in this process, until it is told to end. False if another process is it already.

    Raises:
        RunbookError: as `start`.
    """
    from runbook_lib.sandbox.listeners import serve_listeners  # only the process that serves needs to load a server

    os.umask(0o077)
    with _lock(state) as file:
        if file is None:
            return False
        base = {"pid": os.getpid(), "options": asdict(options)}
        _tell(file, {**base, "phase": "starting"})
        try:
            serve_listeners(state, options, lambda: _tell(file, {**base, "phase": "ready"}))
        except RunbookError as error:
            _tell(file, {**base, "phase": "failed", "reason": error.reason, "what": error.what})
            raise
        _tell(file, {"phase": "stopped"})
        return True


def _check(options: Options) -> None:
    for name, port in (("port", options.port), ("clientauth port", options.clientauth_port)):
        if not 0 <= port <= 65_535:
            raise RunbookError(Reason.BAD_PARAMETER, f"{port} is no {name}: 0 to 65535.")
    if options.port and options.port == options.clientauth_port:
        raise RunbookError(Reason.BAD_PARAMETER, f"Both hosts cannot have the port {options.port}.")
    if options.fault_seed is not None and not options.faults:
        raise RunbookError(Reason.BAD_PARAMETER, "A fault seed is for faults, and there are none.")
    if options.populate < 0:
        raise RunbookError(Reason.BAD_PARAMETER, f"{options.populate} service users cannot be made.")


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
        # a folder with other things in it keeps its mode; every file of ours is closed in any case
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
            cwd=state,  # so that no other folder is kept busy
            start_new_session=True,  # the terminal's Ctrl-C and hang-up are not for it
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
                child.returncode = 0  # it lives on without us; Popen would warn of a child not waited for
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
    raise RunbookError(Reason.UNREACHABLE, "The sandbox did not come up.", remedy=f"Read the end of {log}.")


def _demand_same(options: Options, state: Path) -> None:
    """A running sandbox is not changed: what was asked for must be what it is."""
    deadline = time.monotonic() + _START_SECONDS
    while (status := _status(state)).get("phase") != "ready":
        if time.monotonic() > deadline or not _is_locked(state):
            raise RunbookError(Reason.UNREACHABLE, f"Another start of the sandbox in {state} did not come up.")
        time.sleep(_POLL_SECONDS)
    default = asdict(Options())
    running = default | status["options"]  # one that an older version started knows fewer
    different = [name for name, asked in asdict(options).items() if asked not in (running[name], default[name])]
    if different:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"The sandbox in {state} is running already, with another {', '.join(different)}.",
            remedy=f"runbook sandbox stop --state {state}, then start it again.",
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
    # somebody who only looks holds a shared lock for an instant: it must not stop a sandbox that is starting
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


def _tell(descriptor: int, status: dict[str, Any]) -> None:
    text = json.dumps(status).encode()
    os.pwrite(descriptor, text, 0)
    os.ftruncate(descriptor, len(text))


def _pid(state: Path) -> int:
    """Of the process that holds the lock; it writes its number right after taking it."""
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

"""Starts outside programs, each with an environment made for it.

It passes on only the variables named here: none that configures a program or the loader (OPENSSL_CONF, GIT_DIR,
LD_PRELOAD, JAVA_TOOL_OPTIONS, BASH_ENV, IFS), and no secret. It never looks for a program in the current folder or in a
folder that everybody may write to.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

STANDARD = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

ARCHIVE_PASSPHRASE = "DIGICERT_ONE_ARCHIVE_PASSPHRASE"  # noqa: S105 - a name
"""The default variable for the signer's passphrase. Only the process that seals gets it."""

NO_CERTIFICATES = {"SSL_CERT_DIR": os.devnull, "SSL_CERT_FILE": os.devnull}
"""Makes openssl trust only the certificates that its command names."""

_PERSON = ("HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR")
_SESSION = ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME")
_OURS = ("DIGICERT_ONE_URL", "DIGICERT_ONE_CLIENTAUTH_URL", "DIGICERT_ONE_CA_FILE", "DIGICERT_ONE_STORE")
_PYTHON = (*_PERSON, "PATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_HUB = ("JUPYTERHUB_USER",)
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")
_PYTHON_PREFIXES = ("LC_", "PYTHON", "CONDA_", "XDG_", "MPL")
_PR_SET_PDEATHSIG = 1
"""prctl(2)."""
_QUIET = {"LC_ALL": "C", "OPENSSL_CONF": os.devnull}


def run_program(
    program: str,
    words: Sequence[str],
    *,
    seconds: float,
    more: Mapping[str, str] = MappingProxyType({}),
    files: Sequence[int] = (),
    ends_with_us: bool = False,
) -> subprocess.CompletedProcess[bytes]:
    """Run a program until it ends; returns its output and its exit code, even if that is not 0.

    Args:
        program: its name, for example "openssl".
        seconds: it is killed after these, with whatever it started.
        more: additional variables for it.
        files: additional descriptors for it.
        ends_with_us: whether it is killed whenever this process ends (on Linux). Only for a single-threaded process.

    Raises:
        FileNotFoundError: there is no such program.
        subprocess.TimeoutExpired: it did not end in time.
    """
    path = os.pathsep.join(dict.fromkeys((*STANDARD, *_folders(os.environ))))
    found = shutil.which(program, path=path)
    if found is None:
        raise FileNotFoundError(program)
    env = {"PATH": path, **_QUIET, **_only(os.environ, ("HOME", "TMPDIR", "XDG_CONFIG_HOME")), **more}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [found, *words],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
        pass_fds=files,
        preexec_fn=_end_with(os.getpid()) if ends_with_us and sys.platform == "linux" else None,
    ) as process:
        try:
            out, err = process.communicate(timeout=seconds)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _end_with(parent: int) -> Callable[[], None]:
    """A function that a new process calls before it starts, so that it ends with its parent."""
    prctl = ctypes.CDLL(None).prctl

    def ask_the_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent has ended already
            os._exit(1)

    return ask_the_kernel


def for_python(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a process of ours: the variables that this interpreter needs."""
    return _only(environ, _PYTHON, _PYTHON_PREFIXES)


def for_keeper(environ: Mapping[str, str], references: Iterable[str]) -> dict[str, str]:
    """The environment for the keeper of a clicked session: what this interpreter needs, our own variables, those that
    hold the session's secrets, the user's session (for a keyring) and proxies (for a time stamp)."""
    held = [reference.removeprefix("env:").strip() for reference in references if reference.startswith("env:")]
    return _only(environ, (*_PYTHON, *_SESSION, *_HUB, *held), (*_PYTHON_PREFIXES, "DIGICERT_ONE_")) | {
        name: value for name, value in environ.items() if name.lower() in _PROXIES
    }


def for_hook(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a user's command: the user, the session and the DigiCert ONE environment. No secret."""
    path = os.pathsep.join(dict.fromkeys((*_folders(environ), *STANDARD)))
    return {**_only(environ, (*_PERSON, *_SESSION, *_OURS), ("LC_",)), "PATH": path}


def _only(environ: Mapping[str, str], names: Sequence[str], prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name in names or (prefixes and name.startswith(prefixes))}


def _folders(environ: Mapping[str, str]) -> list[str]:
    """The absolute folders of PATH, except those that everybody may write to."""
    folders = environ.get("PATH", "").split(os.pathsep)
    return [folder for folder in folders if folder.startswith("/") and not open_to_all(folder)]


def open_to_all(place: str | Path) -> bool:
    """Whether every user of this machine may write there."""
    try:
        return bool(Path(place).stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False

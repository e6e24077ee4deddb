"""The software that makes a report: its versions, and the lock file that it was installed from."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path

LOCK = Path(__file__).parents[2] / "requirements.lock"


@cache
def lock_sha256() -> str | None:
    try:
        return hashlib.sha256(LOCK.read_bytes()).hexdigest()
    except OSError:
        return None


def _platform() -> str:
    """`platform.platform`, without the `uname -p` that it starts in our environment."""
    if sys.platform != "linux":
        return platform.platform()
    here = os.uname()
    return "-".join((here.sysname, here.release, here.machine, "with", "".join(platform.libc_ver())))


@cache
def software() -> dict[str, str]:
    """Versions of what made the report."""
    packages = ("digicert-one-runbooks", "papermill", "nbclient", "ipykernel", "nbconvert")
    return {
        "python": platform.python_version(),
        "platform": _platform(),
        **{package: version(package) for package in packages},
    }

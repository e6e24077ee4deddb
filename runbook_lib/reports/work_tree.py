"""The git commit that a notebook belongs to, asked of git without running anything that a repository names.

A repository is data: whoever wrote its configuration may have named programs in it (fsmonitor, filters, hooks). git is
asked only where git itself trusts the repository, and not where everybody may write to it; it is told to run none.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from runbook_lib import programs
from runbook_lib.reports.runrecord import Commit

_SECONDS = 10.0
_INERT = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.sshCommand": "false",
    "core.attributesFile": os.devnull,
    "protocol.allow": "never",
    "safe.bareRepository": "explicit",
}
_UNTRUSTED = "dubious ownership"  # git's own words, under LC_ALL=C


class _NotAsked(Exception):
    """Why there is no answer, in a few words."""


def commit_of(file: Path) -> tuple[Commit | None, str]:
    """The commit of the work tree that a file is in, and why that is not known.

    Returns:
        None and no words where the file is in no work tree. A file that a filter transforms (git-lfs) counts as changed
        once git would have to run the filter to know.
    """
    folder = file.resolve().parent
    root = next((one for one in (folder, *folder.parents) if os.path.lexists(one / ".git")), None)
    if root is None:
        return None, ""
    try:
        if programs.open_to_all(root) or programs.open_to_all(root / ".git"):
            raise _NotAsked("not asked: every user may write to the repository")
        *places, commit = _git(root, "rev-parse", "--absolute-git-dir", "--git-common-dir", "HEAD").splitlines()
        if any(programs.open_to_all(root / place / name) for place in places for name in ("", "config")):
            raise _NotAsked("not asked: every user may write to the repository")
        status = ["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"]
        changes = _git(root, *_without_filters(root), *status)
    except _NotAsked as problem:
        return None, str(problem)
    return Commit(commit=commit, dirty=bool(changes)), ""


def _without_filters(root: Path) -> list[str]:
    """Options of git that empty each filter which its configuration names."""
    names = _git(root, "config", "--name-only", "-z", "--get-regexp", r"^filter\.", may_fail=True).split("\0")
    drivers = {name.rpartition(".")[0] for name in names if name}
    empty = ("clean=", "process=", "required=false")
    return [word for driver in sorted(drivers) for one in empty for word in ("-c", f"{driver}.{one}")]


def _git(root: Path, *words: str, may_fail: bool = False) -> str:
    settings: Sequence[str] = [word for name, value in _INERT.items() for word in ("-c", f"{name}={value}")]
    command = ["--no-pager", "--no-optional-locks", *settings, "-C", str(root), *words]
    # else it looks further up where what it finds here is no repository
    more = {"GIT_CEILING_DIRECTORIES": str(root.parent), "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = programs.run_program("git", command, seconds=_SECONDS, more=more)
    except FileNotFoundError:
        raise _NotAsked("not asked: there is no git here") from None
    except (OSError, subprocess.TimeoutExpired):
        raise _NotAsked(f"git gave no answer within {_SECONDS:g} s") from None
    said = done.stderr.decode(errors="replace")
    if _UNTRUSTED in said:
        raise _NotAsked("not asked: the repository belongs to another user, and git does not trust it (safe.directory)")
    if done.returncode != 0 and not may_fail:
        raise _NotAsked("git reads no commit in the repository")
    return done.stdout.decode(errors="replace").strip()

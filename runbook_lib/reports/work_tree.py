"""Asks git for a notebook's commit, without running any program that the repository names.

A repository is data: its configuration can name programs (fsmonitor, filters, hooks). So git is told to run none, and
asked only if git itself trusts the repository and not every user can write to it.
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
    """Why the commit is unknown, in a few words."""


def commit_of(file: Path) -> tuple[Commit | None, str]:
    """The commit of the work tree that contains a file; or why it is unknown.

    Returns:
        None and an empty text outside a work tree. A file that a filter transforms (git-lfs) counts as changed if git
        would have to run the filter to know.
    """
    folder = file.resolve().parent
    root = next((place for place in (folder, *folder.parents) if os.path.lexists(place / ".git")), None)
    if root is None:
        return None, ""
    try:
        if programs.open_to_all(root) or programs.open_to_all(root / ".git"):
            raise _NotAsked("not asked: every user can write to the repository")
        *places, commit = _git(root, "rev-parse", "--absolute-git-dir", "--git-common-dir", "HEAD").splitlines()
        if any(programs.open_to_all(root / place / name) for place in places for name in ("", "config")):
            raise _NotAsked("not asked: every user can write to the repository")
        status = ["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"]
        changes = _git(root, *_without_filters(root), *status)
    except _NotAsked as problem:
        return None, str(problem)
    return Commit(commit=commit, dirty=bool(changes)), ""


def _without_filters(root: Path) -> list[str]:
    """git options that empty each filter in its configuration."""
    names = _git(root, "config", "--name-only", "-z", "--get-regexp", r"^filter\.", may_fail=True).split("\0")
    drivers = {name.rpartition(".")[0] for name in names if name}
    empty = ("clean=", "process=", "required=false")
    return [word for driver in sorted(drivers) for setting in empty for word in ("-c", f"{driver}.{setting}")]


def _git(root: Path, *words: str, may_fail: bool = False) -> str:
    settings: Sequence[str] = [word for name, value in _INERT.items() for word in ("-c", f"{name}={value}")]
    command = ["--no-pager", "--no-optional-locks", *settings, "-C", str(root), *words]
    # GIT_CEILING_DIRECTORIES keeps git from looking further up
    more = {"GIT_CEILING_DIRECTORIES": str(root.parent), "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = programs.run_program("git", command, seconds=_SECONDS, more=more)
    except FileNotFoundError:
        raise _NotAsked("not asked: git was not found") from None
    except (OSError, subprocess.TimeoutExpired):
        raise _NotAsked(f"git gave no answer within {_SECONDS:g} s") from None
    if _UNTRUSTED in done.stderr.decode(errors="replace"):
        raise _NotAsked("not asked: the repository belongs to another user, and git does not trust it (safe.directory)")
    if done.returncode != 0 and not may_fail:
        raise _NotAsked("git found no commit in the repository")
    return done.stdout.decode(errors="replace").strip()

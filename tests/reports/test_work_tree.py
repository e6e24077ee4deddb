"""Asks git for a notebook's commit without running what the repository names; if not asked, it is unknown."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runbook_lib.clock import SystemClock
from runbook_lib.reports.runrecord import Commit, RunRecord
from runbook_lib.reports.work_tree import commit_of
from runbook_lib.runner import run_notebook


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(["git", "-C", folder, *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    """A notebook in a folder of a work tree with one commit."""
    file = tmp_path / "repository/notebooks/one.ipynb"
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    top = tmp_path / "repository"
    git(top, "init", "-q")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "One")
    return file


@pytest.fixture
def top(notebook: Path) -> Path:
    return notebook.parents[1]


@pytest.fixture
def trap(tmp_path: Path) -> Callable[[], str]:
    """Makes programs that leave a mark when they are run; `ran` names it."""
    script = tmp_path / "trap.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\ncat\n")
    script.chmod(0o755)
    return lambda: str(script)


def test_the_commit_of_a_work_tree_and_whether_it_was_changed(notebook: Path, top: Path, tmp_path: Path) -> None:
    commit = git(top, "rev-parse", "HEAD")
    assert commit_of(notebook) == (Commit(commit=commit, dirty=False), "")
    notebook.write_text("{ }")
    assert commit_of(notebook) == (Commit(commit=commit, dirty=True), "")
    (tmp_path / "elsewhere.ipynb").write_text("{}")
    assert commit_of(tmp_path / "elsewhere.ipynb") == (None, "")


def test_a_linked_work_tree_is_one(notebook: Path, top: Path, tmp_path: Path) -> None:
    git(top, "worktree", "add", "-q", str(tmp_path / "linked"))
    assert commit_of(tmp_path / "linked/notebooks/one.ipynb") == commit_of(notebook)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to another user")
def test_a_repository_of_another_user_is_not_asked_unless_git_trusts_it(
    notebook: Path, top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for one in (top, *top.rglob("*")):
        os.chown(one, 10001, 10001, follow_symlinks=False)
    found, why = commit_of(notebook)
    assert found is None
    assert "not asked: the repository belongs to another user" in why
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")  # the environment does not decide what git trusts
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "*")
    assert commit_of(notebook)[0] is None
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".gitconfig").write_text(f"[safe]\n\tdirectory = {top}\n")
    assert commit_of(notebook)[0] is not None


@pytest.mark.parametrize("open_place", ["", ".git", ".git/config"])
def test_a_repository_that_everybody_may_write_to_is_not_asked(notebook: Path, top: Path, open_place: str) -> None:
    place = top / open_place
    place.chmod(place.stat().st_mode | 0o002)
    assert commit_of(notebook) == (None, "not asked: every user can write to the repository")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("core.fsmonitor", "{trap}"),
        ("core.hooksPath", "{folder}"),
        ("core.sshCommand", "{trap}"),
        ("core.pager", "{trap}"),
        ("pager.status", "{trap}"),
        ("alias.status", "!{trap}"),
        ("diff.external", "{trap}"),
        ("filter.f.clean", "{trap}"),
        ("filter.a.b.clean", "{trap}"),
        ("filter.f.process", "{trap}"),
        ("include.path", "{include}"),
    ],
)
def test_nothing_runs_that_a_repository_names(
    notebook: Path, top: Path, tmp_path: Path, trap: Callable[[], str], setting: str, value: str
) -> None:
    include = tmp_path / "included"
    include.write_text(f'[core]\n\tfsmonitor = {trap()}\n[filter "f"]\n\tclean = {trap()}\n')
    (tmp_path / "post-index-change").symlink_to(trap())
    name = "a.b" if "a.b" in setting else "f"
    (notebook.parent / ".gitattributes").write_text(f"*.ipynb filter={name} diff=f\n")
    git(top, "config", setting, value.format(trap=trap(), folder=tmp_path, include=include))
    os.utime(notebook)  # otherwise the file's time tells git that nothing changed
    assert commit_of(notebook)[1] == ""
    assert not (tmp_path / "ran").exists()


def test_a_submodule_is_not_entered(notebook: Path, top: Path, tmp_path: Path, trap: Callable[[], str]) -> None:
    inner = top / "inner"
    inner.mkdir()
    (inner / "file").write_text("")
    git(inner, "init", "-q")
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "Inner")
    git(top, "-c", "advice.addEmbeddedRepo=false", "add", "inner")
    git(top, "commit", "-q", "-m", "Two")
    git(inner, "config", "core.fsmonitor", trap())
    assert commit_of(notebook)[0] is not None
    assert not (tmp_path / "ran").exists()


def test_what_only_looks_like_a_repository_does_not_lead_to_one_above(
    notebook: Path, top: Path, tmp_path: Path, trap: Callable[[], str]
) -> None:
    git(top, "config", "core.fsmonitor", trap())
    (notebook.parent / ".git").mkdir()
    assert commit_of(notebook) == (None, "git found no commit in the repository")
    (notebook.parent / ".git").rmdir()
    (notebook.parent / ".git").write_text("gitdir: /nowhere\n")
    assert commit_of(notebook) == (None, "git found no commit in the repository")
    assert not (tmp_path / "ran").exists()


def test_git_s_own_variables_change_nothing(
    notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: Callable[[], str]
) -> None:
    honest = commit_of(notebook)
    for name, value in {
        "GIT_DIR": str(tmp_path),
        "GIT_WORK_TREE": str(tmp_path),
        "GIT_EXEC_PATH": str(tmp_path),
        "GIT_EXTERNAL_DIFF": trap(),
        "GIT_CONFIG_GLOBAL": "/dev/null/none",
        "GIT_TRACE": str(tmp_path / "ran"),
        "PATH": f".:{tmp_path}/bin:{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "git").symlink_to(trap())
    assert commit_of(notebook) == honest
    assert not (tmp_path / "ran").exists()


def test_run_json_and_report_say_that_git_was_not_asked(
    write_notebook: Callable[..., Path], tmp_path: Path, archive: Path
) -> None:
    notebook = write_notebook("1 + 1")
    git(notebook.parent, "init", "-q")
    git(notebook.parent, "add", notebook.name)
    git(notebook.parent, "commit", "-q", "-m", "One")
    notebook.parent.chmod(0o777)
    outcome = run_notebook(notebook, {}, job="demo", archive=archive, clock=SystemClock())
    record = RunRecord.model_validate_json((outcome.bag / "data/run.json").read_bytes())
    assert record.notebook.git is None
    assert "every user can write" in record.notebook.git_unknown
    assert "commit unknown (not asked: every user can write" in (outcome.bag / "data/report.html").read_text()

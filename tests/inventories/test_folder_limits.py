"""No file stops an inventory: one that takes too long, or too much memory, is a row with its reason."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.inventories import folder_process, folder_worker
from runbook_lib.inventories.folder_process import Helper, _Ended
from runbook_lib.inventories.folder_walk import FolderEntry
from runbook_lib.inventories.folder_worker import PartialAnswer
from tests.inventories.test_folders import pem, read


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a certificate before and behind whatever a test puts between them."""
    place = tmp_path / "certificates"
    place.mkdir()
    for name in ("a.pem", "z.pem"):
        (place / name).write_bytes(pem(-10, 300))
    return place


def states(where: Path, place: Path) -> dict[str, tuple[str, str]]:
    rows, summary = read(where, place)
    assert sum(summary.states.values()) == len(rows)
    return {Path(row["file"]).name: (row["state"], row["reason"]) for row in rows}


def test_what_is_planted_is_a_row_and_nothing_is_waited_for(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(place / "pipe.pem")
    monkeypatch.chdir(place)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.pem")
        with (place / "sparse.pem").open("wb") as stream:
            stream.truncate(2**40)
        (place / "endless.pem").symlink_to("/dev/zero")
        (place / "process.pem").symlink_to("/proc/self/environ")
        found = states(tmp_path / "out", place)
    assert (found.pop("a.pem"), found.pop("z.pem")) == (("healthy", ""), ("healthy", ""))
    assert {state for state, _ in found.values()} == {"unchecked"}
    assert found["sparse.pem"][1] == "file_too_large"
    assert len(found) == 5


@pytest.mark.parametrize("label", [b"CERTIFICATE", b"PRIVATE KEY", b"NOTHING"])
def test_a_file_of_nothing_but_beginnings_takes_bounded_time_memory_and_rows(
    tmp_path: Path, place: Path, label: bytes
) -> None:
    (place / "m.pem").write_bytes((b"-----BEGIN " + label + b"-----\n") * 300_000)
    rows, summary = read(tmp_path / "out", place)
    assert len(rows) < 2_000
    assert summary.rows == len(rows)
    if label != b"NOTHING":
        assert summary.states["unchecked"] == 1
        assert summary.reasons["file_too_large"] == 1
    assert rows[-1]["state"] == "healthy"


def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_process, "FILE_SECONDS", 0.0)
    monkeypatch.setattr(folder_process, "_LOOK", 0.01)
    (place / "m.pem").write_bytes(pem(-10, 300) * 5_000)
    found = states(tmp_path / "out", place)
    assert found["m.pem"] == ("unchecked", "file_given_up")
    monkeypatch.undo()
    assert states(tmp_path / "out", place)["m.pem"] == ("healthy", "")


def test_a_file_that_needs_too_much_memory_is_given_up_and_the_rest_is_read(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "m.pem").write_bytes(b"\xff\xfe" + "x".encode("utf-16-le") * (6 * 2**20))
    assert states(tmp_path / "out", place)["m.pem"] == ("unreadable", "unreadable_file")
    monkeypatch.setattr(folder_worker, "MAX_MEMORY", 30 * 2**20)
    found = states(tmp_path / "out", place)
    assert found["m.pem"] == ("unchecked", "file_given_up")
    assert found["z.pem"] == ("healthy", "")


@pytest.mark.parametrize("name", ["0.pem", "m.pem", "zz.pem"])
def test_a_file_that_ends_the_process_twice_is_given_up(
    tmp_path: Path, place: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / name).write_bytes(b"whatever a library aborts at")
    ask = Helper._ask

    def ends(self: Helper, entries: tuple[FolderEntry, ...], begun: int) -> Iterator[PartialAnswer]:
        at = next((number for number, one in enumerate(entries) if one.path.endswith(name)), None)
        if at is not None:
            raise _Ended(at, "signal 6 ended the process")
        yield from ask(self, entries, begun)

    monkeypatch.setattr(Helper, "_ask", ends)
    found = states(tmp_path / "out", place)
    assert found == {name: ("unchecked", "file_given_up"), "a.pem": ("healthy", ""), "z.pem": ("healthy", "")}

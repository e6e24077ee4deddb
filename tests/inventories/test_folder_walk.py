"""Links below a folder: a file is read once, wherever it lies, and what is not read says so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runbook_lib.inventories.folder_walk import FolderEntry, pieces

CERTIFICATE = b"content does not matter here"


def entries(*folders: Path) -> dict[str, FolderEntry]:
    """Each entry by its name below the first folder."""
    found = [entry for piece in pieces([str(one) for one in folders], 100) for entry in piece.entries]
    return {os.path.relpath(one.path, folders[0]): one for one in found}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "named").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/c.pem").write_bytes(CERTIFICATE)
    return tmp_path


def test_a_link_to_a_file_elsewhere_is_followed_and_each_file_is_read_once(place: Path) -> None:
    live = place / "named/live/example.com"
    live.mkdir(parents=True)
    for name in ("cert.pem", "same.pem"):
        (live / name).symlink_to("../../../elsewhere/c.pem")
    (place / "elsewhere/hard.pem").hardlink_to(place / "elsewhere/c.pem")
    (live / "through.pem").symlink_to(place / "elsewhere/hard.pem")
    found = entries(live)
    assert (found["cert.pem"].target, found["cert.pem"].state) == (str(place / "elsewhere/c.pem"), "")
    assert [(found[one].target, found[one].state) for one in ("same.pem", "through.pem")] == [("", "linked")] * 2
    # named as well, the file has its own row
    found = entries(live, place / "elsewhere")
    assert found["cert.pem"].state == "linked"


def test_kubernetes_mounts_a_secret_behind_two_links_and_its_files_are_read_once(place: Path) -> None:
    mount = place / "named"
    (mount / "..2026_11_28").mkdir()
    (mount / "..2026_11_28/tls.crt").write_bytes(CERTIFICATE)
    (mount / "..data").symlink_to("..2026_11_28")
    (mount / "tls.crt").symlink_to("..data/tls.crt")
    found = entries(mount)
    assert {name: one.state for name, one in found.items()} == {
        "..2026_11_28/tls.crt": "",
        "..data": "linked",
        "tls.crt": "linked",
    }
    # of a mount below another folder, one may be the link alone
    (place / "other").mkdir()
    (place / "other/tls.crt").symlink_to(mount / "tls.crt")
    assert entries(place / "other")["tls.crt"].target == str(mount / "..2026_11_28/tls.crt")


def test_a_link_whose_target_is_not_looked_at_is_unchecked_with_the_reason(place: Path) -> None:
    named = place / "named"
    os.mkfifo(place / "pipe")
    for name, target in {
        "folder": place / "elsewhere",
        "nowhere": place / "gone.pem",
        "circle": named / "circle",
        "pipe": place / "pipe",
        "device": Path("/dev/zero"),
        "below": place / "elsewhere/c.pem/below",
        "long": Path("x" * 300),
    }.items():
        (named / name).symlink_to(target)
    found = entries(named)
    assert {one.state for one in found.values()} == {"unchecked"}
    assert {one.target for one in found.values()} == {""}
    for name, words in {
        "folder": "outside the named folders",
        "nowhere": "leads nowhere",
        "below": "leads nowhere",
        "circle": "forms a loop",
        "pipe": "is not a file",
        "device": "/dev/zero, which is not a file",
        "long": "File name too long",
    }.items():
        assert words in found[name].why, name


def test_folders_that_link_to_each_other_end(place: Path) -> None:
    for one, other in (("named", "elsewhere"), ("elsewhere", "named")):
        (place / one / "loop").symlink_to(place / other)
    (place / "named/self").symlink_to(".")
    assert entries(place / "named")["self"].state == "linked"
    assert entries(place / "named")["loop"].state == "unchecked"
    assert entries(place / "named", place / "elsewhere")["loop"].state == "linked"


def test_an_empty_folder_is_an_entry(place: Path) -> None:
    (only,) = entries(place / "named").values()
    assert (only.state, only.why) == ("no certificate", "an empty folder")

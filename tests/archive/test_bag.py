"""Bags: whole or not there, and stock tools agree with them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runbook_lib.archive import bag
from runbook_lib.errors import Reason, RunbookError
from tests.archive.bags import FILES, put, started


def _accepted(place: Path) -> dict[str, bool]:
    """Who accepts the bag: bagit's own command line, and coreutils."""
    checks = {
        "bagit": [sys.executable, "-m", "bagit", "--validate", "--quiet", "."],
        "payload": ["sha256sum", "--check", "--strict", "--quiet", "manifest-sha256.txt"],
        "tags": ["sha256sum", "--check", "--strict", "--quiet", "tagmanifest-sha256.txt"],
    }
    return {
        name: subprocess.run(command, cwd=place, capture_output=True).returncode == 0
        for name, command in checks.items()
    }


@pytest.mark.interop
def test_stock_tools_accept_a_bag_and_notice_one_changed_byte(tmp_path: Path) -> None:
    place = put(tmp_path / "archive").folder
    assert place == tmp_path / "archive/2026/11/23/20261123T141500Z-demo"
    assert _accepted(place) == {"bagit": True, "payload": True, "tags": True}
    assert sorted(path.name for path in place.iterdir()) == [
        "bag-info.txt",
        "bagit.txt",
        "chain.json",
        "data",
        "manifest-sha256.txt",
        "tagmanifest-sha256.txt",
    ]
    info = (place / "bag-info.txt").read_text()
    assert "Bagging-Date: 2026-11-23\n" in info
    assert f"Payload-Oxum: {sum(map(len, FILES.values()))}.3\n" in info
    assert re.search(r"External-Identifier: urn:uuid:[0-9a-f-]{36}\n", info)
    (place / "data/run.json").write_bytes(b"[]\n")
    assert _accepted(place) == {"bagit": False, "payload": False, "tags": True}
    (place / "data/run.json").write_bytes(FILES["run.json"])
    (place / "bag-info.txt").write_text(info.replace("2026", "2025"))
    assert _accepted(place) == {"bagit": False, "payload": True, "tags": False}


@pytest.mark.interop
def test_a_file_that_lies_on_the_disk_is_taken_as_it_is_and_left_where_it_was(tmp_path: Path) -> None:
    lying = tmp_path / "kept.csv"
    lying.write_bytes(b"a,b\r\n")
    place = put(tmp_path / "archive", {**FILES, "accounts/one/kept.csv": lying}).folder
    assert all(_accepted(place).values())
    assert (place / "data/accounts/one/kept.csv").read_bytes() == lying.read_bytes() == b"a,b\r\n"
    lying.unlink()
    assert all(_accepted(place).values())


def test_two_runs_in_one_second_are_two_bags(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        places = list(pool.map(lambda _: put(tmp_path / "archive").folder, range(8)))
    assert len(set(places)) == 8
    assert sorted(place.name for place in places)[:2] == ["20261123T141500Z-demo", "20261123T141500Z-demo-2"]
    assert not list((tmp_path / "archive/.staging").iterdir())


_SMALL_DISK = """
import json, sys; from pathlib import Path
from runbook_lib.clock import SystemClock; from runbook_lib.errors import RunbookError
from runbook_lib.runner import run_notebook
archive, what, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
try:
    if what == "run":
        one = run_notebook(Path(sys.argv[4]), {"size": size}, job="demo", archive=archive, clock=SystemClock())
        told = json.loads((one.bag / "data/run.json").read_text())
        print(one.status.value, one.error["reason"], *told["cells"]["states"])
    else:
        from tests.archive.bags import put
        put(archive, {"a": b"1", "b": b"x" * size})
except RunbookError as error:
    print(error.reason.value)
print(sorted(p.name for p in archive.rglob("*") if p.is_file() and p.name[0] != "."))
"""


@pytest.mark.interop
@pytest.mark.parametrize(
    ("what", "size", "said"),
    [
        ("put", 1000, r"\['VERIFY.md', 'a', 'b', 'bag-info.txt'"),
        ("put", 1_100_000, r"disk_full\n\[\]\n"),
        # the bag has room for what was saved before, and says that this is not all
        ("run", 1_100_000, r"failed not_saved( executed)*( unknown)+\n\['VERIFY.md'"),
    ],
)
def test_a_full_disk_leaves_nothing_half_written_and_nothing_untrue(
    tmp_path: Path, write_notebook: Callable[..., Path], what: str, size: int, said: str
) -> None:
    # a file system of one megabyte, in a mount namespace of its own
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=1m none "$1" && shift && exec "$@"'
    head = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(disk)]
    if subprocess.run([*head, "true"], capture_output=True).returncode:
        pytest.skip("this machine allows no mount namespaces")
    notebook = write_notebook("print('x' * size)", parameters="size = 1")
    command = [sys.executable, "-c", _SMALL_DISK, str(disk), what, str(size), str(notebook)]
    done = subprocess.run([*head, *command], capture_output=True, text=True, check=True)
    assert re.match(said, done.stdout), done.stdout


def test_an_archive_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunbookError) as caught, bag.staging(tmp_path / "file", started()):
        raise AssertionError("never reached")
    assert caught.value.reason is Reason.ARCHIVE_FAILED


def test_the_staging_folder_is_private_and_goes_away(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stop"), bag.staging(tmp_path / "archive", started()) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert folder.is_relative_to(tmp_path / "archive")
        raise ValueError("stop")
    assert not folder.exists()

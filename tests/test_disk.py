"""What is written survives or leaves nothing; one process at a time holds a lock; only ordinary files are read."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib import disk
from runbook_lib.errors import Reason, RunbookError

HOLDER = """
import sys, time
from pathlib import Path
from runbook_lib import disk
with disk.locked(Path(sys.argv[1]), busy="held by"):
    print("held", flush=True)
    time.sleep(60)
"""
READER = """
import fcntl, os, sys, time
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def holding(program: str, path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = holding(HOLDER, tmp_path / "lock")
    yield process
    process.kill()
    process.communicate()


def wait_for(path: Path, seconds: float) -> str:
    with pytest.raises(RunbookError) as caught, disk.locked(path, busy="It is held by", wait=seconds):
        pass
    assert caught.value.reason is Reason.BUSY
    assert int(caught.value.exit) == 41
    return caught.value.what


# --- locked -----------------------------------------------------------------------------------------------------------


def test_a_wait_says_for_whom_and_ends_with_its_time(
    tmp_path: Path, holder: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    began = time.monotonic()
    what = wait_for(tmp_path / "lock", 0.5)
    assert 0.4 < time.monotonic() - began < 3
    assert what.startswith(f"It is held by process {holder.pid} of ")
    assert f" on {socket.gethostname()} since 20" in what
    assert "Waited" in what
    assert f"process {holder.pid}" in caplog.text
    assert "at most 0.5 seconds" in caplog.text
    holder.kill()
    holder.wait()
    with disk.locked(tmp_path / "lock", busy="held by"):
        pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_wait_ends_with_a_signal(tmp_path: Path, holder: subprocess.Popen[str], number: signal.Signals) -> None:
    threading.Timer(0.3, os.kill, (os.getpid(), number)).start()
    began = time.monotonic()
    assert f"{number.name} ended the wait" in wait_for(tmp_path / "lock", 30)
    assert time.monotonic() - began < 5


def test_a_process_that_is_stopped_is_told_as_stopped(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGSTOP)
    assert f"kill -CONT {holder.pid}" in wait_for(tmp_path / "lock", 0.3)


def test_a_lock_is_the_writers_alone(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch(mode=0o644)
    lock.chmod(0o644)
    before = lock.open("rb")  # a reader's: it could be locked at any time
    with disk.locked(lock, busy="held by"):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        assert disk.try_lock(before.fileno())  # and stops nobody
    with disk.locked(lock, busy="held by"):
        pass
    before.close()
    assert sorted(tmp_path.iterdir()) == [lock]


def test_a_lock_that_an_older_version_holds_open_to_readers_is_waited_for(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch(mode=0o644)
    lock.chmod(0o644)
    process = holding(READER, lock)
    try:
        assert f"process {process.pid}" in wait_for(lock, 0.3)
        assert stat.S_IMODE(lock.stat().st_mode) == 0o644
    finally:
        process.kill()
        process.communicate()


if os.geteuid() == 0:  # only root can be somebody else

    def test_another_user_who_may_only_read_stops_no_writer(tmp_path: Path) -> None:
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and not folder.stat().st_mode & stat.S_IXOTH:
                folder.chmod(0o755)
        lock = tmp_path / "lock"
        lock.touch(mode=0o644)
        lock.chmod(0o644)
        command = ["sh", "-c", "exec 9<lock && flock 9 && echo held && exec sleep 60"]
        reader = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, user=65534, cwd=tmp_path)
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "held\n"
            began = time.monotonic()
            with disk.locked(lock, busy="held by", wait=20):
                assert time.monotonic() - began < 5
            refused = subprocess.run(command, capture_output=True, user=65534, cwd=tmp_path, check=False)
            assert b"ermission denied" in refused.stderr
        finally:
            reader.kill()
            reader.communicate()


def test_many_writers_at_once_replace_an_open_lock_and_only_one_of_them_is_inside(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    lock.touch(mode=0o644)
    lock.chmod(0o644)
    program = """
import sys
from pathlib import Path
from runbook_lib import disk
lock, inside = Path(sys.argv[1]), Path(sys.argv[1]).with_name("inside")
for _ in range(20):
    with disk.locked(lock, busy="held by", wait=60):
        inside.touch(exist_ok=False)
        inside.unlink()
"""
    writers = [subprocess.Popen([sys.executable, "-c", program, str(lock)]) for _ in range(4)]
    assert [one.wait(60) for one in writers] == [0, 0, 0, 0]


@pytest.mark.parametrize("kind", ["fifo", "folder", "link"])
def test_what_is_no_file_is_no_lock(tmp_path: Path, kind: str) -> None:
    plant(tmp_path / "lock", kind)
    with pytest.raises(OSError), disk.locked(tmp_path / "lock", busy="held by", wait=5):
        pass


# --- written ----------------------------------------------------------------------------------------------------------


def test_a_replacement_that_fails_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / ".head"
    disk.replace(file, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError):
            disk.replace(file, b"new")
    assert (list(tmp_path.iterdir()), file.read_bytes()) == ([file], b"old")
    disk.replace(file, b"new")
    assert (list(tmp_path.iterdir()), file.read_bytes()) == ([file], b"new")


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_what_lies_where_a_file_is_written_aside_is_neither_written_to_nor_waited_for(
    tmp_path: Path, kind: str
) -> None:
    plant(tmp_path / ".name.new", kind)
    disk.replace(tmp_path / "name", b"content")
    assert (tmp_path / "name").read_bytes() == b"content"
    assert not (tmp_path / "elsewhere").exists()


# --- read -------------------------------------------------------------------------------------------------------------


def plant(path: Path, kind: str) -> None:
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(path.with_name("elsewhere"))
        case "socket":
            folder = os.open(path.parent, os.O_RDONLY)
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(f"/proc/self/fd/{folder}/{path.name}")
            os.close(folder)
        case "device":
            path.symlink_to("/dev/zero")
        case "sparse":
            with path.open("wb") as stream:
                stream.truncate(1 << 40)


@pytest.mark.parametrize("kind", ["fifo", "folder", "link", "socket", "device", "sparse"])
@pytest.mark.parametrize("follow", [True, False])
def test_only_ordinary_files_of_bounded_size_are_read(tmp_path: Path, kind: str, follow: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    assert disk.read_file(path, follow=follow) == b"content"
    path.unlink()
    plant(path, kind)
    with pytest.raises(OSError):
        disk.read_file(path, follow=follow)


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert disk.read_file(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        disk.read_file(tmp_path / "file", 4)

"""Files: written durably, locked by one process at a time, and read only if they are regular files."""

from __future__ import annotations

import errno
import fcntl
import getpass
import hashlib
import io
import json
import logging
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from runbook_lib.catalogue import Reason
from runbook_lib.clock import SystemClock, iso
from runbook_lib.errors import RunbookError
from runbook_lib.interruptions import Interruptions

LARGEST = 64 << 20
"""The default limit of `read_file` in bytes: the size of a list of a hundred thousand bags."""

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.1


# --- written ----------------------------------------------------------------------------------------------------------


def sha256(content: bytes) -> str:
    """The digest in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def write_file(path: Path, content: bytes, *, mode: int = 0o666) -> None:
    """Write a file and the folders above it, and fsync it. The umask is subtracted from `mode`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode), content)


def _write(descriptor: int, content: bytes) -> None:
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def link(source: Path, path: Path) -> None:
    """Give a file a second name, or copy it if the file system differs or has no links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.hardlink_to(source)
    except OSError:
        write_file(path, source.read_bytes())


def replace(path: Path, content: bytes, *, mode: int = 0o666, aside: Path | None = None) -> None:
    """Write a file atomically: a reader, or a crash, sees the old or the new content. A failure leaves nothing behind.

    Args:
        mode: the umask is subtracted from it, unless it has no bits for group and others.
        aside: where the file is written before it is renamed; by default a fixed name next to `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if aside is None:
        aside = path.with_name(f".{path.name.lstrip('.')}.new")
        aside.unlink(missing_ok=True)  # left by a crash, or a link or a FIFO that somebody put there
    descriptor = os.open(
        aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode | stat.S_IWUSR
    )
    try:
        if not mode & (stat.S_IRWXG | stat.S_IRWXO):
            os.fchmod(descriptor, mode)
        _write(descriptor, content)
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk; the fsync of a file does not (fsync(2))."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append(path: Path, line: bytes, *, keep: int | None = None) -> None:
    """Add a line to a file durably: the complete line or, with OSError, nothing.

    Args:
        keep: truncate the file to this many bytes first.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        if keep is not None:
            os.ftruncate(descriptor, keep)
        size = os.fstat(descriptor).st_size
        if os.write(descriptor, line) != len(line):  # a nearly full disk accepts a part
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# --- read -------------------------------------------------------------------------------------------------------------


def opened(path: Path, limit: int | None = LARGEST, *, follow: bool = False) -> io.BufferedReader:
    """Open a regular file for reading, without ever waiting.

    Args:
        limit: the largest size in bytes.
        follow: whether to follow a symbolic link.

    Raises:
        OSError: from the file system; with EINVAL and our own text for a link, a folder, a FIFO, a socket, a device or
            a file that is too large.
    """
    status = path.stat() if follow else path.lstat()
    _ordinary(path, status, limit)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    try:
        _ordinary(path, os.fstat(descriptor), limit)  # it may have been replaced meanwhile
    except OSError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, limit: int = LARGEST, *, follow: bool = False) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises OSError as `opened`."""
    with opened(path, limit, follow=follow) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:  # it grew while it was read
        raise OSError(errno.EINVAL, f"larger than {limit:,} bytes", str(path))
    return content


def _ordinary(path: Path, status: os.stat_result, limit: int | None) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise OSError(errno.EINVAL, "a symbolic link", str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if limit is not None and status.st_size > limit:
        raise OSError(errno.EINVAL, f"larger than {limit:,} bytes", str(path))


# --- locked -----------------------------------------------------------------------------------------------------------


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock an open file; False if another process holds it. The kernel unlocks it when the holder ends (flock(2))."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def locked(path: Path, *, busy: str, wait: float = 0.0, mode: int = 0o600) -> Iterator[None]:
    """Let one process at a time into the block. The file names the holder; the kernel frees the lock when that ends.

    Anyone who can open the file can lock it, so only writers may open it: a file that an earlier version left open to
    readers is replaced.

    Args:
        busy: begins the sentence that names the holder.
        wait: maximum seconds; 0 does not wait. SIGINT and SIGTERM also end the wait.
        mode: the file's mode: the user alone, or the group and others as well.

    Raises:
        RunbookError: BUSY, with the holder and the time waited. OSError: from the file system.
    """
    descriptor = _acquire(path, busy, wait, mode)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _record(), 0)
        yield
    finally:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
        os.close(descriptor)


def _acquire(path: Path, busy: str, wait: float, mode: int) -> int:
    descriptor = _attempt(path, mode)
    if descriptor is not None:
        return descriptor
    began = time.monotonic()
    with Interruptions().collected() as interruptions:
        if wait > 0:  # logged once a signal can end the wait, since its reader may send one
            _LOG.warning("%s %s. Waiting for at most %g seconds.", busy, _holder(path), wait)
        while time.monotonic() - began < wait and not interruptions.signals:
            time.sleep(_POLL_SECONDS)
            descriptor = _attempt(path, mode)
            if descriptor is not None:
                return descriptor
    waited = f" Waited {time.monotonic() - began:.0f} seconds." if wait > 0 else ""
    ended = f" {interruptions.signals[0].name} ended the wait." if interruptions.signals else ""
    raise RunbookError(Reason.BUSY, f"{busy} {_holder(path)}.{waited}{ended}")


def _attempt(path: Path, mode: int) -> int | None:
    """The lock's descriptor, or None while another process holds it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        found = os.fstat(descriptor)
        _ordinary(path, found, None)
        got = try_lock(descriptor)
        if got and not os.path.samestat(found, path.stat()):
            got = False  # it was replaced meanwhile
        elif stat.S_IMODE(found.st_mode) & ~mode:
            if got or _only_readers_hold(path, found, mode):
                return _replaced(path, found, mode)
        elif got:
            descriptor, kept = -1, descriptor
            return kept
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _replaced(path: Path, old: os.stat_result, mode: int) -> int | None:
    """Replace a lock file that readers can open, and hold the new one; None if another process is doing so.

    Changing the mode is not enough: a reader could still lock a descriptor that it has open.
    """
    aside = path.with_name(f".{path.name.lstrip('.')}.new")
    descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        found = os.fstat(descriptor)
        _ordinary(aside, found, None)
        if not try_lock(descriptor) or not os.path.samestat(found, aside.stat()):
            return None
        if not os.path.samestat(old, path.stat()):
            aside.unlink()
            return None
        with suppress(OSError):
            os.fchown(descriptor, -1, path.parent.stat().st_gid)
        os.fchmod(descriptor, mode)
        aside.replace(path)
        descriptor, kept = -1, descriptor
        return kept
    except FileNotFoundError:
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _only_readers_hold(path: Path, found: os.stat_result, mode: int) -> bool:
    """Whether every holder is known, and none belongs to a user who may write here.

    A writer holds its lock itself. The lock of a process that has ended lives on in a descriptor that it passed on.
    """
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return False
    writers = {0, os.geteuid(), found.st_uid, path.parent.stat().st_uid}
    pids = _locking(found.st_ino)
    return bool(pids) and all(_user_of(pid) not in writers for pid in pids)


def _user_of(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None


def _locking(inode: int) -> list[int]:
    """The processes that hold a lock on a file, if the kernel lists them (proc_locks(5))."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    words = (line.split() for line in lines if "->" not in line)
    return [int(word[4]) for word in words if word[1] == "FLOCK" and word[5].rpartition(":")[2] == str(inode)]


def _record() -> bytes:
    # the real time, whatever the run's clock says: a person looks for this process
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "user": _user(), "since": iso(SystemClock().now())}
    return json.dumps(holder).encode()


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name
        return str(os.getuid())


def _holder(path: Path) -> str:
    """Who holds a lock. The holder writes its name a moment after it gets the lock; until then the file may be old."""
    for _ in range(10):
        try:
            holder = json.loads(read_file(path, 4096))
            pid, host, since = int(holder["pid"]), str(holder.get("host", "")), str(holder["since"])
            here = host in ("", socket.gethostname())
            if here and not _alive(pid):
                raise ValueError("the process has ended")
            where = f" of {holder['user']} on {host}" if host else ""
            return f"process {pid}{where} since {since}{_stopped(pid) if here else ''}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            time.sleep(0.01)
    try:
        pids = _locking(path.stat().st_ino)
    except OSError:
        pids = []
    return f"process {pids[0]}{_stopped(pids[0])}" if pids else "another process"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:  # another user's
        return True
    except OSError:
        return False
    return True


def _stopped(pid: int) -> str:
    """Says that a process on this machine is stopped (SIGSTOP, Ctrl-Z), and so keeps its lock; empty if it is not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""
    return f", which is stopped (`kill -CONT {pid}` resumes it)" if state in "Tt" else ""

"""Whatever lies in an archive, who looks at it comes to an end, with a verdict: FIFOs, devices, bombs, loops."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib.archive import chain
from runbook_lib.archive.verify import verify_archive
from tests.archive.bags import AT, copy, environ_with_passphrase, places, small
from tests.soak import SOAK

pytestmark = pytest.mark.interop

SECONDS, MEGABYTES = 60, 500

EVERY = 1 if SOAK else 4
"""`make test` takes every fourth of what is planted, RUNBOOK_SOAK=1 all."""
Plant = Callable[[Path], object]
"""Puts something into an archive; the path is that of a signed one, of five bags."""


def _bag(archive: Path, number: int = 2) -> Path:
    return places(archive)[number]


def _instead(path: Path) -> Path:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return path


def _fifo(path: Path) -> None:
    os.mkfifo(_instead(path))


def _zero(path: Path) -> None:
    _instead(path).symlink_to("/dev/zero")


def _sparse(path: Path, size: int = 1 << 40) -> None:
    with _instead(path).open("wb") as stream:
        stream.truncate(size)


def _socket(path: Path) -> None:
    _instead(path)
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(f"/proc/self/fd/{folder}/{path.name}")
    os.close(folder)


def _folder(path: Path) -> None:
    _instead(path).mkdir()


def _nested(path: Path, depth: int = 3000) -> None:
    path.mkdir()
    descriptor = os.open(path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=descriptor)
        deeper = os.open("d", os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = deeper
    os.close(descriptor)


def _device(path: Path) -> None:
    try:
        os.mknod(_instead(path), 0o666 | 0o020000, os.makedev(1, 5))  # zero
    except PermissionError:  # only root may
        _zero(path)


def _many(path: Path) -> None:
    for number in range(3000):
        (path / f"n{number}").write_bytes(b"")


PLANTED: dict[str, Plant] = {
    "a manifest that is a FIFO": lambda it: _fifo(_bag(it) / "manifest-sha256.txt"),
    "a tag manifest that is a FIFO": lambda it: _fifo(_bag(it) / chain.TAGS),
    "a manifest that is a link to /dev/zero": lambda it: _zero(_bag(it) / "manifest-sha256.txt"),
    "a manifest that is a device": lambda it: _device(_bag(it) / "manifest-sha256.txt"),
    "a chain.json of 1 TB": lambda it: _sparse(_bag(it) / chain.LINK),
    "a chain.json that is a socket": lambda it: _socket(_bag(it) / chain.LINK),
    "a manifest of 64 MB without a line end": lambda it: _sparse(_bag(it) / "manifest-sha256.txt", 64 << 20),
    "a manifest of a million empty lines": lambda it: (
        (_bag(it) / "manifest-sha256.txt").write_bytes(b"\n" * 10**6) and None
    ),
    "a tag manifest of deep names": lambda it: (
        (_bag(it) / chain.TAGS).write_bytes((b"0" * 64 + b"  " + b"a/" * 4000 + b"a\n") * 500) and None
    ),
    "a signature that is a FIFO": lambda it: _fifo(chain.signature_of(_bag(it))),
    "a signature that is a folder": lambda it: _folder(chain.signature_of(_bag(it))),
    "a signature of 1 TB": lambda it: _sparse(chain.signature_of(_bag(it))),
    "a signature that is a loop": lambda it: _instead(chain.signature_of(_bag(it))).symlink_to(_bag(it).name + ".p7s"),
    "roots that are a FIFO": lambda it: _fifo(it / "certs/roots.pem"),
    "roots that are a link to /dev/zero": lambda it: _zero(it / "certs/roots.pem"),
    "a signer's certificate that is a FIFO": lambda it: _fifo(next((it / "certs").glob("?" * 64 + ".pem"))),
    "certs that are a FIFO": lambda it: _fifo(it / "certs"),
    "a payload of 1 TB": lambda it: _sparse(_bag(it) / "data/run.json"),
    "a report of 1 TB": lambda it: _sparse(_bag(it) / "data/report.html"),
    "a record that is a FIFO": lambda it: _fifo(_bag(it) / "data/run.json"),
    "a record of a million lists": lambda it: (_bag(it) / "data/run.json").write_bytes(b"[" * 10**6) and None,
    "a table that is a FIFO": lambda it: _fifo(_bag(it) / "data/tables/a.csv"),
    "an added file of 1 TB": lambda it: _sparse(_bag(it) / "data/added"),
    "3,000 nested folders": lambda it: _nested(_bag(it) / "data/d"),
    "3,000 nested folders beside the bags": lambda it: _nested(_bag(it).parent / "d"),
    "a folder that is a loop": lambda it: (_bag(it) / "data/loop").symlink_to(".."),
    "a day that is a loop": lambda it: (it / "2026/11/24").symlink_to(".."),
    "a year that is a FIFO": lambda it: _fifo(it / "2027"),
    "3,000 files": lambda it: _many(_bag(it) / "data"),
    "a bag-info.txt that is a FIFO": lambda it: _fifo(_bag(it) / "bag-info.txt"),
    "a list of what is purged that is a FIFO": lambda it: _fifo(_bag(it) / "purged.txt"),
    "a time stamp that is a FIFO": lambda it: _fifo(_bag(it).with_name(_bag(it).name + ".tsr")),
}
HARMLESS: dict[str, Plant] = {
    "a pointer that is a FIFO": lambda it: _fifo(it / ".head"),
    "a pointer that is a link to /dev/zero": lambda it: _zero(it / ".head"),
    "a pointer of 1 TB": lambda it: _sparse(it / ".head"),
    "an index that is a FIFO": lambda it: _fifo(it / "index.html"),
    "an index that is a link to /dev/zero": lambda it: _zero(it / "index.html"),
    "a FIFO where a pointer is written aside": lambda it: _fifo(it / ".head.new"),
}
"""What is no evidence: it is no finding, and nobody waits for it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small(tmp_path_factory.mktemp("whole") / "archive", signed=True, bags=5)


def ends(command: list[str], archive: Path) -> tuple[int, str, float, int]:
    """Exit code, what it said, seconds, and the megabytes of its largest process."""
    began = time.monotonic()
    script = "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); "
    script += "print('PEAK', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10); sys.exit(done.returncode)"
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=archive,
        env=environ_with_passphrase(),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
    said, _, peak = done.stdout.rpartition("PEAK ")
    return done.returncode, said + done.stderr, time.monotonic() - began, int(peak)


@pytest.fixture(autouse=True)
def cleared(archive: Path) -> Iterator[None]:
    """pytest cannot remove thousands of nested folders, and would fail at it in a later session."""
    yield
    subprocess.run(["rm", "-rf", archive], check=True)


VERIFY = [sys.executable, "-m", "runbook_lib.cli", "archive", "verify", "."]
INDEX = [sys.executable, "-m", "runbook_lib.cli", "archive", "index", "."]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", list(PLANTED)[::EVERY])
def test_both_verifiers_end_with_a_finding(whole: Path, archive: Path, what: str) -> None:
    PLANTED[what](copy(whole, archive))
    for command in (VERIFY, ["sh", "verify.sh"]):
        code, said, _, peak = ends(command, archive)
        assert (code, "NOT OK" in said) == (1, True), (command, said)
        assert "Traceback" not in said
        assert peak < MEGABYTES, command


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", list(HARMLESS)[::EVERY])
def test_what_is_no_evidence_keeps_nobody_from_a_verdict(whole: Path, archive: Path, what: str) -> None:
    HARMLESS[what](copy(whole, archive))
    assert verify_archive(archive).findings == ()
    code, said, _, _ = ends(["sh", "verify.sh"], archive)
    assert code == 0, said
    from tests.archive.bags import put

    put(archive, at=AT + timedelta(days=2))
    assert verify_archive(archive).findings == ()


@pytest.mark.timeout(600)
def test_everything_at_once(whole: Path, archive: Path) -> None:
    """The index is made, and the audit tells what it found."""
    copy(whole, archive)
    day = archive / "2026/11/25"
    day.mkdir(parents=True)
    for number, (what, plant) in enumerate(list(PLANTED.items())[::EVERY]):
        if "that are a FIFO" in what and "certs" in what:
            continue
        # each into a bag of its own, for one that writes to the FIFO of another would wait forever
        fresh = copy(whole, archive.with_name("fresh"))
        bag = _bag(fresh)
        plant(fresh)
        for path in bag.parent.glob(f"{bag.name}*"):
            path.rename(day / path.name.replace(bag.name, f"20261125T{number:06}Z-demo"))
        for path in (bag.parent / "d", fresh / "2026/11/24", fresh / "2027"):
            if os.path.lexists(path):
                path.rename(archive / path.relative_to(fresh))
        subprocess.run(["rm", "-rf", fresh], check=True)
    said = ""
    for command, codes in ((VERIFY, (1,)), (["sh", "verify.sh"], (1,)), (INDEX, (0,))):
        code, said, seconds, peak = ends(command, archive)
        assert code in codes, said
        assert seconds < SECONDS
        assert peak < MEGABYTES
        assert "Traceback" not in said
    run = [sys.executable, "-m", "runbook_lib.cli", "run", "archive", "-p", "archive", str(archive)]
    code, said, seconds, peak = ends([*run, "--archive", str(archive.with_name("reports"))], archive)
    assert code in (20, 30), said
    assert (archive.with_name("reports") / "index.html").exists()
    assert peak < MEGABYTES

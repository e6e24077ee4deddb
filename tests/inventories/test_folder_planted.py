"""Whatever somebody plants in a folder to stop an inventory is a row, in bounded time and memory.

`make test` plants small things, RUNBOOK_SOAK=1 those of full size.
"""

from __future__ import annotations

import base64
import csv
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import PrivateFormat, pkcs12

from runbook_lib.catalogue import CATALOGUE, Reason
from tests.conftest import Sandbox
from tests.credentials.test_p12_files import with_rounds
from tests.inventories.test_folders import KEY, pem
from tests.soak import SOAK

RUNBOOK = Path(sys.executable).parent / "runbook"
MB = 2**20
SIZE = 64 * MB if SOAK else 4 * MB
SECONDS, MEMORY = 60.0, 500 * MB

PKCS7 = bytes.fromhex("308006092a864886f70d010702a080")
WRAPPED = base64.b64encode(b"-----BEGIN CERTIFICATE-----\nMIIA\n")
FILLED: dict[str, tuple[bytes, bytes]] = {
    "begin.pem": (b"", b"-----BEGIN CERTIFICATE-----\n"),
    "begin of keys.pem": (b"", b"-----BEGIN PRIVATE KEY-----\n"),
    "begin of nothing.pem": (b"", b"-----BEGIN NOTHING-----\n"),
    "begin without end.pem": (b"", b"-----BEGIN " + b"A" * 100),
    "begin and end.pem": (b"", b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
    "one long block.pem": (b"-----BEGIN CERTIFICATE-----\n", b"M\n"),
    "headers.pem": (b"-----BEGIN CERTIFICATE-----\na:\n", b"b:\n"),
    "base64.crt": (b"", b"MIIA"),
    "base64, spaced.crt": (b"", b"M\tI \n"),
    "wrapped.txt": (b"", WRAPPED),
    "wrapped, often.txt": (b"", b"LS0tLS1CRUdJTiA= "),
    "surrogates.pem": (b"\xff\xfe", b"\0\xd8"),
    "utf-16.pem": (b"\xfe\xff", "-----BEGIN CERTIFICATE-----\n".encode("utf-16-be")),
    "indefinite.der": (b"", b"\x30\x80"),
    "indefinite.p7b": (PKCS7, b"\x24\x80"),
    "indefinite.p12": (b"\x30\x80\2\1\3", b"\x30\x80"),
    "small elements.p12": (b"\x30\x84\x7f\xff\xff\xff\2\1\3", b"\x30\0"),
    "zeros.pem": (b"", b"\0"),
    "line ends.pem": (b"", b"\n"),
    "keys.json": (b'{"kty":', b"["),
    "store.jks": (b"\xfe\xed\xfe\xed\0\0\0\2\x7f\xff\xff\xff", b"\0\0\0\2"),
}


def planted(top: Path) -> set[str]:
    """Plant everything; gives what a row each is expected of."""
    top.mkdir()
    for name, (begin, more) in FILLED.items():
        (top / name).write_bytes((begin + more * (SIZE // len(more)))[:SIZE])
    (top / "bundle.pem").write_bytes(pem(-10, 300) * (60_000 if SOAK else 3_000))
    sealed = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(100_000).hmac_hash(hashes.SHA256())
    sealed = sealed.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC)
    bomb = with_rounds(pkcs12.serialize_key_and_certificates(b"x", KEY, None, None, sealed.build(b"word")))
    for number in range(3):
        (top / f"bomb {number}.p12").write_bytes(bomb)
    with (top / "sparse.pem").open("wb") as stream:
        stream.truncate(2**40)
    os.mkfifo(top / "fifo.pem")
    for name, target in {
        "device": "/dev/zero",
        "loop": "pool",
        "pool": "loop",
        "itself": ".",
        "memory": "/proc/self/mem",
    }.items():
        (top / name).symlink_to(target)
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(top)
        listener.bind("socket.pem")
    (top / ("n" * 251 + ".pem")).write_bytes(pem(-10, 300))
    names = {one.name for one in top.iterdir()}
    for _ in range(5_000):  # too deep for a path
        Path("d").mkdir()
        os.chdir("d")
    os.chdir(top)
    (top / "zz.pem").write_bytes(pem(-10, 300))
    return names | {"zz.pem"}


def tree_memory(process: psutil.Process) -> int:
    """Bytes of a process and all below it, what they share counted once."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            text = Path(f"/proc/{one.pid}/smaps_rollup").read_text()
            total += sum(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("Pss:"))
        except (OSError, psutil.Error):
            continue
    return total


@pytest.mark.timeout(600)
def test_an_inventory_of_what_is_planted_ends_in_time_and_memory_with_a_row_for_each(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "certificates"
    monkeypatch.chdir(tmp_path)
    names = planted(place)
    try:
        words = [
            RUNBOOK,
            "run",
            "inventory",
            "-p",
            "environment",
            "sandbox",
            "-p",
            "folders",
            place,
            "--archive",
            "archive",
        ]
        began, most = time.monotonic(), 0
        with (tmp_path / "said").open("wb") as said:
            process = psutil.Popen(
                [str(word) for word in words], cwd=tmp_path, env=os.environ | sandbox.env, stdout=said, stderr=said
            )
            while process.poll() is None:
                most = max(most, tree_memory(process))
                time.sleep(0.1)
        seconds = time.monotonic() - began
        if SOAK:
            print(f"{len(names)} planted: {seconds:.1f} s, {most / MB:.0f} MB")
            assert seconds < SECONDS
        assert process.returncode == CATALOGUE[Reason.NOT_PROVEN].exit, (tmp_path / "said").read_text()
        assert MB < most < MEMORY
        (table,) = (tmp_path / "archive").rglob("data/tables/files.csv")
        with table.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    finally:
        subprocess.run(["rm", "-r", place], check=True)  # pytest could not
    top = {row["file"].removeprefix(f"{place}/"): row for row in rows}
    assert names <= set(top)
    assert {name for name in names if top[name]["state"] == "healthy"} >= {"zz.pem", "n" * 251 + ".pem"}
    assert {top[f"bomb {number}.p12"]["reason"] for number in range(3)} == {"file_given_up"}
    (deep,) = (row for name, row in top.items() if name.startswith("d/"))
    assert (deep["state"], deep["why"]) == ("unchecked", "File name too long")

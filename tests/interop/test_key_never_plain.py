"""No piece of the private key reaches a file in plaintext while `issue` runs: every write of the process is read."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from runbook_lib.procedures.issue import Issue
from tests.conftest import Sandbox
from tests.procedures.conftest import prepare

pytestmark = pytest.mark.interop

CALLS = "write,pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,mmap,ftruncate,splice,sendfile,copy_file_range"


def traced(script: str, folder: Path, environ: dict[str, str]) -> bytes:
    """Everything that a Python script, and whatever it starts, writes to any descriptor."""
    output = folder / "trace"
    subprocess.run(
        [
            "strace",
            "-f",
            "-y",
            "-xx",
            "-s",
            "1000000",
            "-e",
            f"trace={CALLS}",
            "-o",
            output,
            sys.executable,
            "-c",
            script,
        ],
        env=os.environ | environ,
        check=True,
        capture_output=True,
        timeout=120,
    )
    text = output.read_text()
    maps = [line for line in text.splitlines() if " mmap(" in line and "MAP_SHARED" in line and "PROT_WRITE" in line]
    assert not [line for line in maps if "</" in line and "/dev/zero" not in line], "a file is written through memory"
    return b"\n".join(bytes.fromhex(one.replace("\\x", "")) for one in re.findall(r'"((?:\\x[0-9a-f]{2})+)"', text))


def fragments(key: rsa.RSAPrivateKey) -> list[bytes]:
    """Pieces of the key that must be nowhere: its secret numbers, raw, in hex, and as each PEM would hold them."""
    numbers = key.private_numbers()
    secret = [numbers.d, numbers.p, numbers.q, numbers.dmp1, numbers.dmq1, numbers.iqmp]
    raw = [one.to_bytes((one.bit_length() + 7) // 8, "big") for one in secret]
    found = [one[offset : offset + 16] for one in raw for offset in range(0, len(one) - 16, 16)]
    found += [one.hex().encode()[:48] for one in raw] + [one.hex().upper().encode()[:48] for one in raw]
    for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
        lines = key.private_bytes(Encoding.PEM, form, NoEncryption()).splitlines()[1:-1]
        found += lines[len(lines) // 4 :]  # what comes before holds the modulus, which is public
    return found


def test_a_whole_issuance_writes_no_piece_of_its_key(sandbox: Sandbox, tmp_path: Path) -> None:
    script = """
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.parameters import intake
parameters, _ = intake(Issue.model, {"mode": "headless", "name": "Traced", "confirm": "Traced"})
procedure = Issue(parameters)
for step in procedure.steps():
    assert procedure.perform(step.slug).error is None
"""
    written = traced(script, tmp_path, sandbox.env)
    procedure = prepare(Issue, sandbox, name="Traced")
    current = procedure.credential.current()
    assert current is not None
    key = current.open(procedure.session.secret("p12_password")).key
    assert isinstance(key, rsa.RSAPrivateKey)
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in written  # the trace sees what is written
    assert [one for one in fragments(key) if one in written] == []


def test_the_same_trace_finds_the_tutorials_plaintext_key(tmp_path: Path) -> None:
    script = f"""
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import *
key = rsa.generate_private_key(65537, 2048)
open({str(tmp_path / "temp_key.pem")!r}, "wb").write(
    key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
"""
    written = traced(script, tmp_path, {})
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key((tmp_path / "temp_key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert [one for one in fragments(key) if one in written]

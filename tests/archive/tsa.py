"""A real time-stamp authority for the tests: `openssl ts -reply` behind HTTP on loopback, and its faults."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONFIG = """
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/tsa.pem
certs = {folder}/root.pem
certs = {folder}/root.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = {digests}
accuracy = secs:1
ess_cert_id_alg = sha256
"""


@dataclass
class Tsa:
    """An authority that answers at `url`. `fault` is what goes wrong from now on, `asked` how often it was asked.

    `clock` is the time that it stamps; None: the machine's.
    """

    folder: Path
    url: str = ""
    fault: str = ""
    asked: int = 0
    clock: datetime | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def roots(self) -> Path:
        return self.folder / "root.pem"

    def reply(self, query: bytes) -> bytes:
        """What `openssl ts -reply` makes of a query."""
        with self.lock:
            (self.folder / "query").write_bytes(query)
            command = [
                *at(self.clock),
                "openssl",
                "ts",
                "-reply",
                "-config",
                str(self.folder / "tsa.cnf"),
                "-queryfile",
            ]
            command += [str(self.folder / "query"), "-out", str(self.folder / "reply")]
            subprocess.run(command, check=True, capture_output=True)
            return (self.folder / "reply").read_bytes()

    def query(self, content: bytes) -> bytes:
        """A query over other content, or with another nonce."""
        (self.folder / "content").write_bytes(content)
        command = ["openssl", "ts", "-query", "-data", str(self.folder / "content"), "-sha256", "-cert"]
        return subprocess.run(command, check=True, capture_output=True).stdout


def at(moment: datetime | None) -> list[str]:
    """What goes before a command, so that it sees another time."""
    return [] if moment is None else ["env", "TZ=UTC", "faketime", f"{moment:%Y-%m-%d %H:%M:%S}"]


class _Handler(BaseHTTPRequestHandler):
    tsa: Tsa

    def do_POST(self) -> None:
        tsa = self.tsa
        tsa.asked += 1
        query = self.rfile.read(int(self.headers["Content-Length"]))
        status, answer = 200, b""
        if tsa.fault == "HTTP 503":
            status = 503
        elif tsa.fault == "slow":
            time.sleep(20)
        elif tsa.fault == "no time stamp":
            answer = b"<html>welcome</html>"
        elif tsa.fault == "other content":
            answer = tsa.reply(tsa.query(b"other content\n"))
        elif tsa.fault == "other nonce":
            # the same digest, asked for by somebody else: a replay
            at = query.index(b"\x04\x20") + 2
            answer = tsa.reply(_query_of(tsa, query[at : at + 32]))
        elif tsa.fault == "drip":
            self.send_response(200)
            self.flush_headers()
            for _ in range(40):
                self.wfile.write(b"X-Drip: 1\r\n")
                time.sleep(0.5)
        elif tsa.fault == "endless":
            answer = b"\0" * (1 << 19)
        else:
            answer = tsa.reply(query)
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.end_headers()
            self.wfile.write(answer)
        except OSError:
            pass  # the client did not wait

    def log_message(self, *_: object) -> None:
        """Nothing: the tests look at what the client says."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what some tests are about."""


def _query_of(tsa: Tsa, digest: bytes) -> bytes:
    command = ["openssl", "ts", "-query", "-digest", digest.hex(), "-sha256", "-cert"]
    return subprocess.run(command, check=True, capture_output=True).stdout


@contextmanager
def authority(
    folder: Path, *, until: datetime | None = None, digests: str = "sha256", since: datetime | None = None
) -> Iterator[Tsa]:
    """Start one. `since` and `until` bound its certificate's validity; `digests` is what it accepts."""
    folder.mkdir()
    _certificates(
        folder, since or datetime.now(UTC) - timedelta(days=1), until or datetime.now(UTC) + timedelta(days=9)
    )
    (folder / "serial").write_text("01\n")
    (folder / "tsa.cnf").write_text(CONFIG.format(folder=folder, digests=digests))
    tsa = Tsa(folder)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"tsa": tsa}))
    tsa.url = f"http://127.0.0.1:{server.server_port}/tsa"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield tsa
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _certificates(folder: Path, since: datetime, until: datetime) -> None:
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root, leaf = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{folder.name} {what}")]) for what in ("root", "TSA")
    )

    def builder(subject: x509.Name, public: ec.EllipticCurvePublicKey, since: datetime, until: datetime):
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(root).public_key(public)
        return made.serial_number(x509.random_serial_number()).not_valid_before(since).not_valid_after(until)

    long = timedelta(days=9000)
    ca = builder(root, root_key.public_key(), since - long, since + long)
    ca = ca.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    tsa = builder(leaf, key.public_key(), since, until)
    tsa = tsa.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    tsa = tsa.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
    for name, made in (("root", ca), ("tsa", tsa)):
        (folder / f"{name}.pem").write_bytes(made.sign(root_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "tsa.key").write_bytes(pem)

"""A server that answers what a test tells it to, over real TLS."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runbook_lib.digicert.client import Client
from runbook_lib.digicert.environments import Environment
from runbook_lib.secrets import Secret

API_KEY = "0123456789abcdef0123456789_" + "c0ffee" * 8


@dataclass
class Scripted:
    """Answers, in turn: (status, headers, body), or a function of the socket that breaks the connection."""

    environment: Environment
    answers: list[tuple[int, dict[str, str], str] | Callable[[socket.socket], None]] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], str]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """When each request came, by `time.monotonic`."""
    takes: float = 0.0
    """So many seconds a good answer takes."""

    def client(self, *, read_seconds: float = 5) -> Client:
        return Client(self.environment, api_key=Secret(API_KEY, "test"), read_seconds=read_seconds)

    def says(self, status: int, body: str = "", **headers: str) -> None:
        self.answers.append((status, {name.replace("_", "-"): value for name, value in headers.items()}, body))

    def sent(self) -> list[str]:
        return [method for method, *_ in self.requests]


def self_signed(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate for localhost, the file that trusts it, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost")]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder.mkdir(exist_ok=True)
    ca, both = folder / "ca.pem", folder / "server.pem"
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    both.write_bytes(
        ca.read_bytes()
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"once"),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both, password="once")
    return ca, context


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Scripted]:
    """A scripted server on a loopback port of its own."""
    ca, context = self_signed(tmp_path / "tls")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length).decode()
            server.times.append(time.monotonic())
            server.requests.append((self.command, self.path, dict(self.headers), body))
            answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
            if callable(answer):
                answer(self.connection)
                self.close_connection = True
                return
            status, headers, text = answer
            if status == 200:
                time.sleep(server.takes)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())
            if "Content-Length" in headers:
                self.close_connection = True

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    listener.socket = context.wrap_socket(listener.socket, server_side=True)
    listener.handle_error = lambda *_: None  # type: ignore[method-assign]
    url = f"https://localhost:{listener.server_address[1]}"
    server = Scripted(Environment("sandbox", url, url, ca))
    thread = threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    listener.shutdown()
    listener.server_close()


def drop(connection: socket.socket) -> None:
    """End the connection without an answer."""
    connection.close()

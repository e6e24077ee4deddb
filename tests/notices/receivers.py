"""Who gets the messages in the tests: a real SMTP server and a real webhook, on loopback."""

from __future__ import annotations

import email
import email.policy
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Mailbox:
    """What a mail server accepted."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    refuses: bool = False
    closed: bool = False
    """Only for who logged in."""

    @property
    def subjects(self) -> list[str]:
        return [str(mail["subject"]) for mail in self.mails]

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuses:
            return "451 Requested action aborted"
        if self.closed and not session.authenticated:
            return "530 Authentication required"
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append(message)
        return "250 OK"


@contextmanager
def mail_server(user: str = "", password: str = "") -> Iterator[Mailbox]:
    """A mail server; with a password, only for who gives it."""
    box = Mailbox(closed=bool(password))

    def authenticate(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (user.encode(), password.encode()))

    # what it requires, the mailbox checks: aiosmtpd warns of a password without TLS, and warnings are errors here
    more: dict[str, Any] = {"authenticator": authenticate, "auth_require_tls": False} if password else {}
    box.port = free_port()
    controller = Controller(box, hostname="127.0.0.1", port=box.port, **more)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


@dataclass
class Hook:
    """What a webhook accepted: paths, headers and bodies, in order."""

    port: int = 0
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    status: int = 200

    @property
    def titles(self) -> list[str]:
        return [str(json.loads(body)["title"]) for body in self.bodies]

    @property
    def texts(self) -> list[str]:
        return [str(json.loads(body)["message"]) for body in self.bodies]


@contextmanager
def web_hook() -> Iterator[Hook]:
    """A server that takes every POST."""
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if hook.status == 200:
                hook.paths.append(self.path)
                hook.headers.append(dict(self.headers))
                hook.bodies.append(body)
            self.send_response(hook.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hook
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

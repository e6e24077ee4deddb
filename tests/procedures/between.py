"""A proxy that ends TLS in front of a sandbox, as a company's does: its own certificate, and changed answers."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import Sandbox
from tests.digicert.conftest import self_signed
from tests.digicert.hostile import Asked, hostile_server
from tests.digicert.hostile import http as answered

Change = Callable[[str, str, Any], Any]
"""From method, path and JSON of an answer to what is sent in its place: JSON, or bytes as they are."""


@contextmanager
def between(
    sandbox: Sandbox,
    folder: Path,
    change: Change = lambda *_: None,
    known_by: tuple[Path, ssl.SSLContext] | None = None,
) -> Iterator[dict[str, str]]:
    """The variables that lead to the API through the proxy; the mTLS host is the sandbox's own.

    Args:
        change: None leaves a response unchanged.
        known_by: as in `hostile_server`.
    """
    known_by = known_by or self_signed(folder)
    trusted = folder / "both.pem"
    trusted.write_bytes(known_by[0].read_bytes() + sandbox.ca_file.read_bytes())
    context = ssl.create_default_context(cafile=sandbox.ca_file)

    def answer(asked: Asked) -> None:
        head, _, body = asked.head.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        headers = dict(one.split(": ", 1) for one in lines)
        while len(body) < int(headers.get("Content-Length", "0")):
            body += asked.connection.recv(65536)
        method, path, _ = line.split(" ")
        onward = http.client.HTTPSConnection(urlsplit(sandbox.url).netloc, context=context, timeout=20)
        onward.request(method, path, body, headers | {"Accept-Encoding": "identity"})
        with onward.getresponse() as response:
            content, status = response.read(), f"{response.status} {response.reason}"
            date = f"Date: {response.headers['Date']}"
        onward.close()
        changed = change(method, path, json.loads(content)) if response.status < 300 else None
        if changed is not None:
            content = changed if isinstance(changed, bytes) else json.dumps(changed).encode()
        asked.send(answered(content, date, status=status))

    with hostile_server(folder, known_by) as server:
        server.answer = answer
        yield {"DIGICERT_ONE_URL": server.environment.api_url, "DIGICERT_ONE_CA_FILE": str(trusted)}

"""Lets a client read why its handshake was refused.

asyncio closes a connection after a failed handshake without sending the TLS alert that OpenSSL wrote (CPython issue
gh-98078, fixed in 2026 for later versions). A client then sees a bare disconnect where DigiCert ONE would send `unknown
ca`. As in the upstream fix, the alert is flushed before closing. Closing also waits for a moment: closing a socket with
unread data resets the connection, and the reset can overtake the alert.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from typing import Any

_LINGER_SECONDS = 0.3


def send_alerts() -> None:
    """Patch asyncio in this process, which only serves the sandbox."""
    protocol: Any = sslproto.SSLProtocol
    original = protocol._on_handshake_complete

    def patched(self: Any, error: BaseException | None) -> None:
        if not isinstance(error, ssl.SSLError):
            original(self, error)
            return
        self._process_outgoing()
        # leave the handshake, so that later data is not read as part of it
        self._set_state(sslproto.SSLProtocolState.UNWRAPPED)
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, original, self, error)

    protocol._on_handshake_complete = patched

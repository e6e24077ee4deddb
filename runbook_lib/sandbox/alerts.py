"""Let a client read why its handshake was refused.

asyncio closes a connection whose handshake failed without sending the TLS alert that OpenSSL has written
(CPython issue gh-98078, mended in 2026 for later versions). A client then sees a bare disconnect where DigiCert ONE
would say `unknown ca`. The mend is the upstream one, flush before closing; and the closing waits for a moment, since
closing a socket with unread data in it resets the connection, and that can overtake the alert.
"""

from __future__ import annotations

import asyncio
import ssl
from asyncio import sslproto
from typing import Any

_LINGER_SECONDS = 0.3


def send_alerts() -> None:
    """Mend asyncio for this process, which does nothing but serve the sandbox."""
    protocol: Any = sslproto.SSLProtocol
    unmended = protocol._on_handshake_complete

    def mended(self: Any, error: BaseException | None) -> None:
        if not isinstance(error, ssl.SSLError):
            unmended(self, error)
            return
        self._process_outgoing()
        # out of the handshake: what still comes in is not read as a part of it
        self._set_state(sslproto.SSLProtocolState.UNWRAPPED)
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, unmended, self, error)

    protocol._on_handshake_complete = mended

"""Records which hosts and service users a procedure talked to, so that the notebook alone shows it later."""

from __future__ import annotations

import hashlib
import ssl
import time
from datetime import timedelta
from pathlib import Path

from runbook_lib.clock import Clock
from runbook_lib.digicert.client import Client
from runbook_lib.digicert.environments import Environment
from runbook_lib.digicert.tls import TlsFacts
from runbook_lib.result import Connection, Seen, ServiceUser, Target, Trust


def target(environment: Environment) -> Target:
    """The DigiCert ONE environment, and the CAs that its server certificate must chain to."""
    return Target(
        environment=environment.name,
        api_url=environment.api_url,
        clientauth_url=environment.clientauth_url,
        trust=_trust(environment.ca_file),
    )


def _trust(ca_file: Path | None) -> Trust:
    # OpenSSL loads the file of the machine's CAs by default, and a folder of CAs only in addition
    file = ca_file or ssl.get_default_verify_paths().cafile
    try:
        digest = hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else None
    except OSError:
        digest = None
    return Trust(source="file" if ca_file else "system", file=str(file or ""), sha256=digest)


def seen_by(client: Client, clock: Clock) -> Seen:
    """What a client's calls saw: service user, TLS facts, clock. With a stopped clock, call it right after them."""
    user, ahead = client.user, None
    if client.server_clock is not None:
        here = clock.now() - timedelta(seconds=time.monotonic() - client.answered)
        ahead = round((client.server_clock - here).total_seconds(), 1) + 0.0  # no minus zero
    return Seen(
        service_users=()
        if user is None
        else (
            ServiceUser(
                id=user.id,
                name=user.friendly_name or "",
                accounts=tuple(account.name or account.id for account in user.accounts),
            ),
        ),
        connections=tuple(connection(client.base_url, facts) for facts in client.connections),
        clock_ahead=ahead,
    )


def connection(url: str, facts: TlsFacts) -> Connection:
    """The record of a connection that gave a response."""
    return Connection(
        url=url,
        protocol=facts.protocol,
        cipher=facts.cipher,
        subject=facts.server,
        issuer=facts.issuer,
        not_after=facts.not_after,
        sha256=facts.sha256,
    )

"""The sandbox's first service users, and the thousands that it can be populated with."""

from __future__ import annotations

import base64
import secrets
import uuid
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from runbook_lib.clock import iso
from runbook_lib.sandbox.state import IssuedCertificate, SandboxStore, SeededUser

USERS_PER_ACCOUNT = 10
"""Populated users share accounts, so that one API key sees certificates of every age."""

_AGES = (  # days until the end, enabled
    (200, True),
    (60, True),
    (10, True),
    (-20, True),
    (200, False),
)
_HOSTILE = ("<script>alert(1)</script>", "a|b|c", "\u202egnp.exe", "line\nbreak", "=1+1", "'; --")
"""What a name from a server may hold. Not the certificate's own name: DigiCert ONE restricts it."""


def seed(store: SandboxStore, now: datetime) -> None:
    """Make the service users for tests and practice, unless they exist."""
    if store.users():
        return
    first, second = str(uuid.uuid4()), str(uuid.uuid4())
    accounts = {first: "Example account", second: "Other account"}

    def user(
        role: str, account: str, days: int | None = None, status: str = "ACTIVE", manages: bool = True
    ) -> SeededUser:
        end = None if days is None else _end_of_day(now + timedelta(days=days))
        return _service_user(
            role, account, accounts[account], f"Sandbox {role} service user", now, end, status, manages
        )

    store.add_users(
        [
            user("ordinary", first),
            user("second", first),
            user("no_permission", first, manages=False),
            user("expired", first, days=-10),
            user("disabled", first, status="DISABLED"),
            user("ends_soon", first, days=30),
            user("other_account", second),
        ]
    )


def add_ordinary(store: SandboxStore, now: datetime) -> SeededUser:
    """Add an ordinary service user in an account of its own, with the role `added`."""
    account = str(uuid.uuid4())
    name = "Sandbox added service user"
    user = _service_user("added", account, f"Account {account[:8]}", name, now, None, "ACTIVE", True)
    store.add_users([user])
    return user


def populate(store: SandboxStore, count: int, now: datetime) -> None:
    """Add populated service users up to `count`, each with one certificate, of all ages in turn."""
    users, certificates = [], []
    there = store.count_users("populated")
    accounts: dict[int, str] = {}
    for index in range(there, count):
        number, place = divmod(index, USERS_PER_ACCOUNT)
        account = accounts.setdefault(number, str(uuid.uuid5(uuid.NAMESPACE_OID, f"populated account {number}")))
        odd = f" {_HOSTILE[number % len(_HOSTILE)]}" if place == USERS_PER_ACCOUNT - 1 else ""
        user = _service_user(
            "populated",
            account,
            f"Populated account {number:04}",
            f"Service user {index:05}{odd}",
            now,
            None,
            "ACTIVE",
            True,
        )
        days, enabled = _AGES[index % len(_AGES)]
        end = now + timedelta(days=days)
        # each gets its own key, because public keys tell certificates apart; the private half is dropped
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        users.append(user)
        certificates.append(
            IssuedCertificate(
                id=str(uuid.uuid4()),
                account_id=account,
                user_id=user.id,
                name=f"client auth {index:05}",
                common_name=f"service {index:05}{odd}",
                start_date=iso((end - timedelta(days=365)).replace(hour=0, minute=0, second=0)),
                end_date=_end_of_day(end),
                enabled=enabled,
                serial_number=f"{secrets.randbits(128) | 1:X}",
                public_key=base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode(),
            )
        )
    store.add_users(users)
    store.add_certificates(certificates)


def _service_user(
    role: str, account: str, account_name: str, name: str, now: datetime, end: str | None, status: str, manages: bool
) -> SeededUser:
    id = str(uuid.uuid4())
    return SeededUser(
        id=id,
        role=role,
        # the form of DigiCert ONE's API tokens
        api_key=f"{secrets.token_hex(13)}_{secrets.token_hex(32)}",
        account_id=account,
        account_name=account_name,
        email=f"service-{id[:8]}@example.com",
        friendly_name=name,
        status=status,
        created_at=iso(now),
        end_date=end,
        may_manage=manages,
    )


def _end_of_day(moment: datetime) -> str:
    return iso(moment.replace(hour=23, minute=59, second=59))

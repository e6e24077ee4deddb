"""Detects private keys among certificates, in many formats, and whether a password protects them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, NamedTuple

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_der_private_key
from pyasn1.type import univ

from runbook_lib.credentials.ber import decode
from runbook_lib.errors import Reason

_OPENSSH = b"openssh-key-v1\0"
_OPENSSH_OPEN = _OPENSSH + b"\0\0\0\4none"
"""The first bytes of an OpenSSH key without a passphrase (OpenSSH, PROTOCOL.key)."""
_PPK, _PPK_OPEN = b"PuTTY-User-Key-File-", re.compile(rb"^Encryption:[ \t]*none[ \t]*\r?$", re.MULTILINE)
_SSH2 = b"---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"
_PVK = bytes.fromhex("1ef1b5b0")
_BLOB = (b"RSA2", b"DSS2")
"""The magic of a Windows PRIVATEKEYBLOB."""
_MAX_JSON = 2**20

_ELEMENTS = univ.SequenceOf(componentType=univ.Any())

_EXPOSED = "holds an unprotected private key"
_SEALED = "holds a password-protected private key"


class Key(NamedTuple):
    """The finding for a file with a private key: its form, the reason, and the reason in words."""

    form: str
    reason: Reason
    why: str


def pem_key(label: bytes, body: bytes) -> Key | None:
    """The finding for a PEM block; None for a protected key, and for anything but a key."""
    if label.endswith(b"PRIVATE KEY BLOCK") or label.startswith(b"SSH2 "):
        return _unknown("a PGP or SSH2 private key")
    if not label.endswith(b"PRIVATE KEY") or label.startswith(b"ENCRYPTED") or b"4,ENCRYPTED" in body[:200]:
        return None  # encrypted as PKCS#8 (RFC 5958), or in the older way of RFC 1421, section 4.6.1.1
    if label.startswith(b"OPENSSH"):
        begin = b"".join(body[:200].split())[:60]
        try:
            decoded = base64.b64decode(begin[: len(begin) // 4 * 4])
        except binascii.Error:
            decoded = b""
        if decoded.startswith(_OPENSSH) and not decoded.startswith(_OPENSSH_OPEN):
            return None
        if not decoded.startswith(_OPENSSH):
            return _unknown("a damaged OpenSSH private key")
    return _exposed("PEM")


def text_key(data: bytes) -> Key | None:
    """The finding for text other than PEM: PuTTY keys, SSH2 keys and JSON Web Keys (RFC 7517)."""
    if data.startswith(_PPK):
        return _exposed("PPK") if _PPK_OPEN.search(data[:4096]) else _sealed("PPK")
    if data.startswith(_SSH2):
        return _unknown("an SSH2 private key")
    if data[:256].lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"{", b"[") and b'"kty"' in data:
        if len(data) > _MAX_JSON:
            return _unknown("a large set of JSON Web Keys")
        try:
            return _exposed("JWK") if _has_private(json.loads(data)) else None
        except (ValueError, RecursionError):
            return _unknown("damaged JSON Web Keys")
    return None


def binary_key(data: bytes) -> Key | None:
    """The finding for binary files: DER in all its forms, and Windows' PVK and PRIVATEKEYBLOB."""
    if data.startswith(_PVK):
        return _sealed("PVK") if data[12:16] != b"\0\0\0\0" else _exposed("PVK")
    if data[:1] == b"\7" and data[8:12] in _BLOB:
        return _exposed("BLOB")
    if data[:1] != b"\x30":
        return None
    try:
        load_der_private_key(data, None, unsafe_skip_rsa_key_validation=True)
        return _exposed("DER")
    except TypeError:
        return _sealed("DER")
    except (ValueError, UnsupportedAlgorithm):
        return _by_structure(data)


def _by_structure(data: bytes) -> Key | None:
    """The finding for a key of an algorithm that pyca does not know, by its outermost elements."""
    try:
        tags = bytes(bytes(element)[0] for element in decode(data, _ELEMENTS)[0])
    except (ValueError, IndexError):
        return None
    if tags[:3] == b"\2\x30\4":  # PKCS#8 (RFC 5958)
        return _exposed("DER")
    if tags == b"\x30\4":  # the same encrypted
        return _sealed("DER")
    if tags in (b"\2" * 9, b"\2" * 6) or tags[:2] == b"\2\4":  # RSA (RFC 8017), DSA, EC (RFC 5915)
        return _exposed("DER")
    return None


def _has_private(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_has_private, value))
    if not isinstance(value, dict):
        return False
    if "kty" in value and ("d" in value or (value["kty"] == "oct" and "k" in value)):
        return True
    return any(map(_has_private, value.values()))


def _exposed(form: str) -> Key:
    return Key(form, Reason.KEY_IN_PLAIN_TEXT, _EXPOSED)


def _sealed(form: str) -> Key:
    return Key(form, Reason.NO_CERTIFICATE, _SEALED)


def _unknown(what: str) -> Key:
    return Key("", Reason.KEY_NOT_CHECKED, f"holds {what}; whether a password protects it is unknown")

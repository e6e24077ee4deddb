"""Recognises, by their first bytes, archives and key stores that are not read."""

from __future__ import annotations

from runbook_lib.errors import Reason

_PACKED = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "compressed with gzip",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ\0": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"MSCF": "a CAB archive",
    b"$ANSIBLE_VAULT": "encrypted with ansible-vault",
    b"age-encryption.org/": "encrypted with age",
    b"-----BEGIN AGE ENCRYPTED FILE-----": "encrypted with age",
    b"-----BEGIN PGP MESSAGE-----": "encrypted with PGP",
}
_STORES = {
    b"SQLite format 3\0": "a SQLite database, which may be an NSS certificate store",
    b"\0\x06\x15\x61": "a Berkeley database, which may be an old NSS certificate store",
    b"kych": "a macOS keychain",
    b"\0\0\0\0CERT": "a Windows certificate store",
    b"\0\0\0\1\0\0\0\x14": "a Bouncy Castle key store (BKS or UBER)",
    b"\0\0\0\2\0\0\0\x14": "a Bouncy Castle key store (BKS)",
}


def container(data: bytes) -> tuple[Reason, str] | None:
    """The reason why the content of a file is not checked, also in words; None for any other file."""
    for begin, what in _PACKED.items():
        if data.startswith(begin):
            return (Reason.CONTAINER_NOT_OPENED, f"{what}; its content was not checked")
    if data[257:262] == b"ustar":
        return (Reason.CONTAINER_NOT_OPENED, "a tar archive; its content was not checked")
    for begin, what in _STORES.items():
        if data.startswith(begin):
            return (Reason.KEYSTORE_NOT_READ, f"{what}; its content was not checked")
    return None

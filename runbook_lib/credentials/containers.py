"""Files that hold other files, or keys and certificates in a form that is not read: told by how they begin."""

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
    b"SQLite format 3\0": "a SQLite database, as NSS keeps certificates in",
    b"\0\x06\x15\x61": "a Berkeley database, as old NSS keeps certificates in",
    b"kych": "a keychain of macOS",
    b"\0\0\0\0CERT": "a certificate store of Windows",
    b"\0\0\0\1\0\0\0\x14": "a key store of Bouncy Castle (BKS or UBER)",
    b"\0\0\0\2\0\0\0\x14": "a key store of Bouncy Castle (BKS)",
}


def container(data: bytes) -> tuple[Reason, str] | None:
    """Why the content of a file was not looked at, and in words; None of any other file."""
    for begin, what in _PACKED.items():
        if data.startswith(begin):
            return (Reason.CONTAINER_NOT_OPENED, f"{what}: what is in it was not looked at")
    if data[257:262] == b"ustar":
        return (Reason.CONTAINER_NOT_OPENED, "a tar archive: what is in it was not looked at")
    for begin, what in _STORES.items():
        if data.startswith(begin):
            return (Reason.KEYSTORE_NOT_READ, f"{what}: what is in it was not looked at")
    return None

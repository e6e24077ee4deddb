"""Reads Java key stores (JKS, JCEKS) with Java's own keytool: no maintained Python library does.

Their certificates are not encrypted. Without the password, keytool still lists them but skips the integrity check; each
row then says so.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator

from runbook_lib import programs
from runbook_lib.credentials.armour import FileItem
from runbook_lib.errors import Reason
from runbook_lib.secrets import Secret

_KINDS = {b"\xfe\xed\xfe\xed": "JKS", b"\xce\xce\xce\xce": "JCEKS"}

PROGRAM = "keytool"

SECONDS = 9.0
"""The limit for keytool, which takes one second on an idle machine."""

_WORDS = ("-J-Xmx64m", "-J-XX:+UseSerialGC", "-J-XX:TieredStopAtLevel=1", "-list", "-rfc")
_PASSWORD = "STORE_PASSWORD"  # noqa: S105  (the name of a variable)


def kind_of(data: bytes) -> str:
    """JKS or JCEKS, by the first bytes of the file; empty for any other."""
    return _KINDS.get(data[:4], "")


def look_at_keystore(
    data: bytes, password: Secret | None, look_at_pem: Callable[[bytes], Iterable[FileItem]]
) -> Iterator[FileItem]:
    """The certificates of a Java key store, or why it could not be read.

    Args:
        password: None, or a password that does not open the store, skips the integrity check.
        look_at_pem: reads the certificates that keytool lists.
    """
    kind = kind_of(data)
    note = ""
    try:
        listed = None if password is None else _keytool(data, kind, password)
        if listed is None or listed.returncode:
            note = "its integrity was not checked: no password"
            if password is not None:
                note = "its integrity was not confirmed: the password is wrong, or the file was changed"
            listed = _keytool(data, kind, None)
    except FileNotFoundError:
        why = f"a {kind} key store; reading it needs Java's keytool, which is missing on this machine"
        yield FileItem(kind, 0, None, Reason.KEYSTORE_NOT_READ, why)
        return
    except subprocess.TimeoutExpired:
        yield FileItem(kind, 0, None, Reason.FILE_GIVEN_UP, f"keytool took more than {SECONDS:.0f} s to list it")
        return
    if listed.returncode:
        yield FileItem(
            kind, 0, None, Reason.UNREADABLE_FILE, f"starts like a {kind} key store, but keytool cannot read it"
        )
    elif b"-----BEGIN " not in listed.stdout:
        yield FileItem(kind, 0, None, Reason.NO_CERTIFICATE, f"a {kind} key store without a certificate")
    else:
        for found in look_at_pem(listed.stdout):
            yield found._replace(form=kind, why="; ".join(filter(None, (found.why, note))))


def _keytool(data: bytes, kind: str, password: Secret | None) -> subprocess.CompletedProcess[bytes]:
    # a copy without a name: nothing can lead keytool to another file, and no odd name confuses it
    with tempfile.TemporaryFile() as copy:
        copy.write(data)
        copy.flush()
        words = [*_WORDS, "-storetype", kind, "-keystore", f"/dev/fd/{copy.fileno()}"]
        more = {name: os.environ[name] for name in ("JAVA_HOME",) if name in os.environ}
        if password is not None:
            words += ["-storepass:env", _PASSWORD]
            more[_PASSWORD] = password.reveal()
        return programs.run_program(
            PROGRAM, words, seconds=SECONDS, more=more, files=(copy.fileno(),), ends_with_us=True
        )

"""Java key stores are read by keytool, with or without their password; without keytool they are unchecked."""

from __future__ import annotations

import subprocess

import pytest

from runbook_lib.credentials import keystores
from runbook_lib.credentials.armour import FileItem
from runbook_lib.credentials.fields import tolerant
from runbook_lib.credentials.folder import look_at_content
from runbook_lib.credentials.pkcs12 import Profile, write_p12
from runbook_lib.errors import Reason
from runbook_lib.secrets import Secret
from tests.credentials.pki import CHAIN, OTHER_PASSWORD, PASSWORD, identity


def look(data: bytes, password: Secret | None) -> list[FileItem]:
    with tolerant():
        return list(look_at_content(data, password))


@pytest.fixture(scope="module", params=["JKS", "JCEKS"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    place = tmp_path_factory.mktemp("store")
    (place / "a.p12").write_bytes(write_p12(identity(), PASSWORD, profile=Profile.COMPAT, friendly_name="x"))
    word = PASSWORD.reveal()
    subprocess.run(
        f"keytool -importkeystore -srckeystore a.p12 -srcstoretype PKCS12 -srcstorepass {word} "
        f"-destkeystore store -deststoretype {request.param} -deststorepass {word}".split(),
        cwd=place,
        capture_output=True,
        check=True,
    )
    return (place / "store").read_bytes()


def test_every_certificate_is_read_and_an_integrity_that_was_not_checked_is_reported(store: bytes) -> None:
    for password, why in (
        (PASSWORD, ""),
        (None, "its integrity was not checked: no password"),
        (OTHER_PASSWORD, "its integrity was not confirmed: the password is wrong, or the file was changed"),
    ):
        found = look(store, password)
        assert len([one for one in found if one.der]) == 1 + len(CHAIN)
        assert {one.why for one in found} == {why}
    (damaged,) = look(store[:200], None)
    assert damaged.reason is Reason.UNREADABLE_FILE


def test_without_keytool_a_key_store_is_unchecked(store: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystores, "PROGRAM", "no-such-keytool")
    (found,) = look(store, PASSWORD)
    assert (found.reason, found.der) == (Reason.KEYSTORE_NOT_READ, b"")

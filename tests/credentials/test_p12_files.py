"""A P12 in a folder gives every certificate in it, says whether its key is protected, and stops nobody."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from runbook_lib.credentials.fields import tolerant
from runbook_lib.credentials.folder import look_at_content
from runbook_lib.credentials.p12_files import _rounds
from runbook_lib.credentials.pkcs12 import KDF_ROUNDS, Profile, write_p12
from runbook_lib.errors import Reason
from runbook_lib.secrets import Secret
from tests.credentials.pki import PASSWORD, identity

WORD = f"pass:{PASSWORD.reveal()}"


def look(data: bytes, password: Secret | None = None) -> list[tuple[Reason | None, bool]]:
    """The reasons, and whether there is a certificate."""
    with tolerant():
        return [(one.reason, bool(one.der)) for one in look_at_content(data, password)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("p12")
    new = ["req", "-x509", "-nodes", "-days", "90", "-subj", "/CN=x", "-keyout"]
    openssl(place, *new, "rsa.key", "-newkey", "rsa:2048", "-out", "rsa.crt")
    openssl(place, *new, "ed.key", "-newkey", "ed25519", "-out", "ed.crt")
    return place


def openssl(place: Path, *words: str) -> bytes:
    return subprocess.run(["openssl", *words], cwd=place, capture_output=True, check=True).stdout


def export(place: Path, *words: str, key: str = "rsa", password: str = WORD) -> bytes:
    given = () if "-nokeys" in words else ("-inkey", f"{key}.key")
    return openssl(place, "pkcs12", "-export", "-in", f"{key}.crt", *given, "-passout", password, *words)


def test_a_trust_store_without_a_key_is_as_many_rows_as_it_has_certificates(place: Path) -> None:
    store = export(place, "-nokeys", "-certfile", "ed.crt")
    assert look(store, PASSWORD) == [(None, True), (None, True)]
    assert look(store) == [(Reason.P12_NOT_OPENED, False)]
    # such as Java's own cacerts: nothing in it is secret
    assert look(export(place, "-nokeys", "-nomac", "-certpbe", "NONE")) == [(None, True)]


def test_a_key_that_is_not_encrypted_is_exposed_also_where_the_p12_has_a_password(place: Path) -> None:
    exposed = (Reason.KEY_IN_PLAIN_TEXT, False)
    unencrypted = export(place, "-keypbe", "NONE")
    assert look(unencrypted, PASSWORD)[0] == exposed
    assert look(unencrypted) == [exposed, (Reason.P12_NOT_OPENED, False)]
    assert look(export(place, password="pass:")) == [exposed, (Reason.CHAIN_MISSING, True)]
    assert exposed not in look(export(place), PASSWORD)


def test_a_key_of_any_kind_hides_no_certificate(place: Path) -> None:
    assert look(export(place, key="ed"), PASSWORD) == [(Reason.CHAIN_MISSING, True)]


def test_a_damaged_p12_is_damaged_with_and_without_its_password() -> None:
    data = write_p12(identity(), PASSWORD, profile=Profile.MODERN, friendly_name="x")
    for password in (None, PASSWORD):
        assert look(data[:-40], password) == [(Reason.UNREADABLE_FILE, False)]


@pytest.mark.parametrize("profile", Profile)
def test_the_rounds_of_a_p12_are_counted_before_any_is_made(profile: Profile) -> None:
    data = write_p12(identity(), PASSWORD, profile=profile, friendly_name="x")
    assert _rounds(data) >= 2 * KDF_ROUNDS + 2_048


def test_a_p12_of_millions_of_rounds_is_given_up_at_once(place: Path) -> None:
    for words in (("-iter", "1"), ("-iter", "1", "-macalg", "sha1", "-certpbe", "PBE-SHA1-3DES")):
        data = export(place, *words)
        bomb = with_rounds(export(place, "-iter", "100000", *words[2:]))
        began = time.monotonic()
        for password in (None, PASSWORD):
            assert look(bomb, password) == [(Reason.FILE_GIVEN_UP, False)]
        assert time.monotonic() - began < 2
        assert look(data, PASSWORD) == [(Reason.CHAIN_MISSING, True)]


def with_rounds(data: bytes) -> bytes:
    """A P12 whose 100,000 rounds are the most that three bytes hold."""
    changed = data.replace(bytes.fromhex("0203") + (100_000).to_bytes(3, "big"), bytes.fromhex("02037fffff"))
    assert changed != data
    return changed

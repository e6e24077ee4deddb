"""A file in a folder of certificates gives its certificates, or says in words why it has none."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from runbook_lib.credentials import armour, folder
from runbook_lib.credentials.armour import FileItem
from runbook_lib.credentials.fields import tolerant
from runbook_lib.credentials.folder import look_at_content, look_into
from runbook_lib.credentials.pkcs12 import Profile, write_p12
from runbook_lib.errors import Reason
from tests.credentials.pki import CHAIN, OTHER_PASSWORD, PASSWORD, identity

LEAF = identity().certificate
PEM = LEAF.public_bytes(Encoding.PEM)
DER = LEAF.public_bytes(Encoding.DER)
BUNDLE = b"".join(one.public_bytes(Encoding.PEM) for one in (LEAF, *CHAIN))


def look(data: bytes, password=None) -> list[FileItem]:
    with tolerant():
        return list(look_at_content(data, password))


def look_file(path: Path, password=None) -> list[FileItem]:
    with tolerant():
        return list(look_into(str(path), password))


def certificates(found: list[FileItem]) -> list[x509.Certificate]:
    return [one.certificate for one in found if one.certificate is not None]


def reasons(found: list[FileItem]) -> list[Reason | None]:
    return [one.reason for one in found]


def openssl(*words: str, folder: Path, data: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *words], cwd=folder, input=data, capture_output=True, check=True).stdout


@contextmanager
def not_root() -> Iterator[None]:
    """As somebody who may not read everything, should the tests run as root."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


# --- what is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [PEM, DER, PEM.replace(b"\n", b"\r\n"), b"Bag Attributes\n" + PEM + b"\n\n"])
def test_one_certificate_is_read_however_it_is_wrapped(data: bytes):
    (found,) = look(data)
    assert (found.certificate, found.number, found.reason) == (LEAF, 1, None)


def test_every_certificate_of_a_bundle_is_read_in_its_order_with_any_text_between_them():
    noise = b"# Example CA\n\xff\xfe not UTF-8\n"
    found = look(noise + noise.join(BUNDLE.split(b"\n\n")) + noise)
    assert certificates(found) == [LEAF, *CHAIN]
    assert [one.number for one in found] == [1, 2, 3]
    assert reasons(found) == [None] * 3


def test_an_old_name_for_the_same_pem_is_read():
    (found,) = look(PEM.replace(b" CERTIFICATE", b" X509 CERTIFICATE"))
    assert found.certificate == LEAF


def test_a_damaged_or_truncated_certificate_is_reported_and_the_others_are_read():
    damaged = PEM[:28] + b"AAAA" + PEM[32:]
    truncated = PEM[:300]
    found = look(PEM + damaged + truncated + b"\n" + PEM)
    assert [(one.number, one.certificate is not None) for one in found] == [
        (1, True),
        (2, False),
        (3, False),
        (4, True),
    ]
    assert reasons(found) == [None, Reason.UNREADABLE_FILE, Reason.UNREADABLE_FILE, None]
    assert "truncated" in found[2].why


def test_der_that_was_cut_short_is_damaged_and_what_stands_behind_one_does_not_hide_it():
    (cut,) = look(DER[:-1])
    assert cut.reason is Reason.UNREADABLE_FILE
    assert "truncated" in cut.why
    assert certificates(look(DER + b"\n")) == [LEAF]


def test_a_text_that_begins_with_a_zero_is_a_text():
    assert certificates(
        look(b"0 our root, from the old machine in the cellar; do not delete it, it is needed\n" + PEM)
    ) == [LEAF]


def test_what_windows_writes_is_read():
    assert certificates(look(BUNDLE.decode().encode("utf-16"))) == [LEAF, *CHAIN]


def test_what_openssl_calls_trusted_is_a_certificate_too(tmp_path: Path):
    trusted = openssl("x509", "-trustout", "-addtrust", "clientAuth", folder=tmp_path, data=PEM)
    assert b"BEGIN TRUSTED CERTIFICATE" in trusted
    assert certificates(look(trusted)) == [LEAF]
    found = look(PEM + trusted + trusted[:100] + b"\n")
    assert [(one.number, one.reason) for one in found] == [(1, None), (2, None), (3, Reason.UNREADABLE_FILE)]


@pytest.mark.parametrize("form", ["PEM", "DER"])
def test_the_certificates_of_a_pkcs7_are_read(form: str, tmp_path: Path):
    (tmp_path / "bundle.pem").write_bytes(BUNDLE)
    words = ("crl2pkcs7", "-nocrl", "-certfile", "bundle.pem", "-outform", form)
    p7b = openssl(*words, folder=tmp_path)
    found = look(p7b)
    assert set(certificates(found)) == {LEAF, *CHAIN}
    assert [(one.form, one.number) for one in found] == [("P7B", 1), ("P7B", 2), ("P7B", 3)]
    damaged = p7b[: len(p7b) // 2] + (b"\n-----END PKCS7-----\n" if form == "PEM" else b"")
    assert reasons(look(damaged)) == [Reason.UNREADABLE_FILE]
    if form == "PEM":
        assert [one.number for one in look(PEM + p7b + PEM)] == [1, 2, 3, 4, 5]
        assert reasons(look(PEM + damaged)) == [None, Reason.UNREADABLE_FILE]


# --- what is none -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b" \n\t", b"\x00" * 100, b"# read me\n", b"<html>", b"-----BEGIN ", b"0", b"0\x82", b"0\x82\x00\x01x"]
)
def test_what_holds_no_certificate_says_so(data: bytes):
    assert reasons(look(data)) == [Reason.NO_CERTIFICATE]


def test_a_private_key_without_a_password_is_reported_and_one_with_a_password_is_not(tmp_path: Path):
    plain = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", folder=tmp_path)
    traditional = openssl("ec", folder=tmp_path, data=plain)
    for key in (plain, traditional):
        assert reasons(look(key + PEM)) == [Reason.KEY_IN_PLAIN_TEXT, None]
        assert Reason.KEY_IN_PLAIN_TEXT in reasons(look(key))
    sealed = openssl("pkcs8", "-topk8", "-passout", "pass:x", folder=tmp_path, data=plain)
    old = openssl("ec", "-aes128", "-passout", "pass:xxxx", folder=tmp_path, data=plain)
    for key in (sealed, old):
        assert reasons(look(key + PEM)) == [None]
        assert reasons(look(key)) == [Reason.NO_CERTIFICATE]


def test_a_request_and_a_revocation_list_are_named_for_what_they_are(tmp_path: Path):
    openssl(
        "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "k", "-out", "r", "-subj", "/CN=x", folder=tmp_path
    )
    (found,) = look((tmp_path / "r").read_bytes())
    assert (found.reason, found.why) == (Reason.NO_CERTIFICATE, "holds certificate request")


# --- P12 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", Profile)
def test_a_p12_is_opened_only_with_a_password_and_its_whole_chain_is_read(profile: Profile):
    one = identity()
    data = write_p12(one, PASSWORD, profile=profile, friendly_name="x")
    assert reasons(look(data)) == [Reason.P12_NOT_OPENED]
    found = look(data, PASSWORD)
    assert certificates(found) == [one.certificate, *CHAIN]
    assert {one.form for one in found} == {"P12"}
    assert reasons(look(data, OTHER_PASSWORD)) == [Reason.WRONG_PASSWORD]
    assert reasons(look(data[:-40], PASSWORD)) == [Reason.UNREADABLE_FILE]


def test_what_is_wrong_with_a_p12_is_reported_with_its_certificate(tmp_path: Path):
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key", "-out", "crt", "-subj", "/CN=p12",
            folder=tmp_path)  # fmt: skip
    export = ("pkcs12", "-export", "-passout", f"pass:{PASSWORD.reveal()}")
    alone = openssl(*export, "-in", "crt", "-inkey", "key", folder=tmp_path)
    (found,) = look(alone, PASSWORD)
    assert (found.reason, found.certificate is not None) == (Reason.CHAIN_MISSING, True)
    old = openssl(*export, "-legacy", "-certpbe", "PBE-SHA1-RC2-40", "-in", "crt", "-inkey", "key", folder=tmp_path)
    (found,) = look(old, PASSWORD)
    assert (found.reason, found.certificate is not None) == (Reason.OLD_ENCRYPTION, True)
    keyless = openssl(*export, "-nokeys", "-in", "crt", folder=tmp_path)
    assert reasons(look(keyless, PASSWORD)) == [None]


def test_a_text_in_utf_16_with_a_damaged_character_still_gives_its_certificate() -> None:
    text = PEM.decode()
    for mark, encoding in (
        (b"\xff\xfe", "utf-16-le"),
        (b"\xfe\xff", "utf-16-be"),
        (b"", "utf-16-le"),
        (b"", "utf-16-be"),
    ):
        damaged = mark + text.encode(encoding) + "\ud800".encode(encoding, "surrogatepass")
        assert [one.der for one in look(damaged) if one.der] == [DER]


def test_only_pem_is_read_beyond_sixteen_mebibytes(tmp_path: Path) -> None:
    large = tmp_path / "large.pem"
    large.write_bytes(PEM + b"#" * folder.MAX_BYTES_BUT_PEM + b"\n" + PEM)
    assert [one.der for one in look_file(large) if one.der] == [DER, DER]
    large.write_bytes(b"#" * (folder.MAX_BYTES_BUT_PEM + 1) + PEM)
    (found,) = look_file(large)
    assert (found.reason, "the limit for files other than PEM" in found.why) == (Reason.FILE_TOO_LARGE, True)
    large.write_bytes(PEM + b"-----BEGIN CERTIFICATE-----\n" + b"M" * armour.MAX_BLOCK + b"\n" + PEM)
    assert reasons(look_file(large)) == [None, Reason.FILE_TOO_LARGE, None]


# --- what lies in a folder --------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_reported_and_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "real.pem").write_bytes(PEM)
    (tmp_path / "link.pem").symlink_to("real.pem")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        monkeypatch.chdir(tmp_path)
        listener.bind("socket")
        assert reasons(look_file(tmp_path / "real.pem")) == [None]
        for link in ("link.pem", "dangling"):
            assert reasons(look_file(tmp_path / link)) == [Reason.LINK_NOT_FOLLOWED]
        for special in ("pipe", "socket", "gone", "."):
            assert reasons(look_file(tmp_path / special)) == [Reason.FILE_NOT_READ], special
    monkeypatch.setattr(folder, "MAX_BYTES", len(PEM) - 1)
    assert reasons(look_file(tmp_path / "real.pem")) == [Reason.FILE_TOO_LARGE]


@pytest.mark.parametrize("change", [b"more", b""], ids=["longer", "shorter"])
def test_a_file_that_is_written_to_meanwhile_is_not_a_damaged_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: bytes
):
    (tmp_path / "one.pem").write_bytes(PEM)
    fstat = os.fstat

    def and_then_written(descriptor: int) -> os.stat_result:
        status = fstat(descriptor)
        (tmp_path / "one.pem").write_bytes(PEM + change if change else PEM[:100])
        return status

    monkeypatch.setattr(os, "fstat", and_then_written)
    (found,) = look_file(tmp_path / "one.pem")
    monkeypatch.undo()
    assert (found.reason, found.why) == (Reason.FILE_NOT_READ, "it changed while it was read")


def test_a_file_that_may_not_be_read_is_reported(tmp_path: Path):
    (tmp_path / "closed.pem").write_bytes(PEM)
    (tmp_path / "closed.pem").chmod(0)
    with not_root():
        (found,) = look_file(tmp_path / "closed.pem")
    assert (found.reason, found.why) == (Reason.FILE_NOT_READ, "Permission denied")


# --- anything at all --------------------------------------------------------------------------------------------------


@given(st.binary(max_size=400))
@settings(deadline=None)  # keytool reads what begins as a key store
def test_any_bytes_give_a_row(data: bytes):
    for password in (None, PASSWORD):
        assert look(data, password)


@given(st.binary(max_size=60), st.integers(0, len(DER)), st.integers(0, 255))
@settings(max_examples=200)
def test_a_changed_or_cut_certificate_is_a_certificate_or_a_reason(tail: bytes, at: int, byte: int):
    changed = DER[:at] + bytes([byte]) + DER[at + 1 :]
    pem = PEM[: at % len(PEM)] + bytes([byte]) + PEM[at % len(PEM) + 1 :]
    for data in (changed, DER[:at], changed + tail, pem, pem + tail, PEM[: at % len(PEM)]):
        found = look(data)
        assert found
        assert all(bool(one.der) or one.reason is not None for one in found)


@given(st.data())
@settings(max_examples=400)
def test_a_file_of_one_certificate_is_read_wherever_pyca_reads_it(data: st.DataObject):
    # such files go a shorter way; what they are must not depend on it
    text = bytearray(data.draw(st.sampled_from([PEM, *(one.public_bytes(Encoding.PEM) for one in CHAIN)])))
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(20, len(text) - 20))
        cut = data.draw(st.integers(0, 2))
        text[at : at + cut] = data.draw(
            st.sampled_from([b"", b"\n", b"\n\n", b" ", b"\r\n", b"=", b"A", b"/", b"-", b"\x00"])
        )
    try:
        expected = x509.load_pem_x509_certificate(bytes(text))
    except ValueError:
        return
    (found,) = look(bytes(text))
    assert (found.certificate, found.der) == (expected, expected.public_bytes(Encoding.DER))


@pytest.mark.parametrize(
    "changed",
    [
        PEM.replace(b"\n", b"\r\n"),
        PEM.rstrip(),
        PEM.replace(b"\n", b" \n"),
        b"\n".join([PEM[:27], PEM[28:-26].replace(b"\n", b""), PEM[-26:]]),  # in one line
    ],
)
def test_a_certificate_in_other_lines_than_usual_is_the_same(changed: bytes):
    assert certificates(look(changed)) == [LEAF]


@given(
    st.lists(
        st.tuples(st.sampled_from([PEM, *(one.public_bytes(Encoding.PEM) for one in CHAIN)]), st.binary(max_size=40))
    )
)
def test_certificates_are_found_whatever_lies_between_them(parts: list[tuple[bytes, bytes]]):
    data = b"\n".join(certificate + noise.replace(b"-", b"_") for certificate, noise in parts)
    found = certificates(look(b"#\n" + data))
    assert [one.public_bytes(Encoding.PEM) for one in found] == [certificate for certificate, _ in parts]

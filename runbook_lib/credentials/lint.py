"""Lint: checks that an issued certificate matches its request and will work as a client certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from runbook_lib.clock import SLACK, iso
from runbook_lib.credentials.certificates import extended_key_usage, is_ca, serial_number
from runbook_lib.credentials.fields import UNDECODABLE, describe_key
from runbook_lib.credentials.keys import spki
from runbook_lib.rules import MAX_LIFETIME

_STRONG_CURVES = ("secp256r1", "secp384r1")
_STRONG_HASHES = ("sha256", "sha384", "sha512")


@dataclass(frozen=True)
class LintFinding:
    """The finding of one rule.

    Args:
        rule: slug of the rule.
        detail: what was seen, in words. Names in it come from the issuer: escape it for display.
        source: where the rule is written.
    """

    rule: str
    ok: bool
    detail: str
    source: str


@dataclass(frozen=True)
class _Case:
    certificate: x509.Certificate
    chain: Sequence[x509.Certificate]
    csr: x509.CertificateSigningRequest
    now: datetime
    end_date: datetime | None
    ca_trust: Sequence[x509.Certificate] | None


def lint(
    certificate: x509.Certificate,
    chain: Sequence[x509.Certificate],
    *,
    csr: x509.CertificateSigningRequest,
    now: datetime,
    end_date: datetime | None,
    ca_trust: Sequence[x509.Certificate] | None = None,
) -> list[LintFinding]:
    """Compare a certificate with its request.

    Args:
        chain: the CAs above it, nearest first; the last may but need not be the root.
        csr: the request that was sent.
        now: aware; the time of issue.
        end_date: the requested end, aware; None if none was requested.
        ca_trust: CAs of which one must be, or have issued, the last of the chain; None does not check this.

    Returns:
        one finding per rule, in a fixed order; a part that cannot be decoded is a finding that is not ok.
    """
    case = _Case(certificate, chain, csr, now, end_date, ca_trust)
    findings = []
    for slug, (source, rule) in _RULES.items():
        try:
            ok, detail = rule(case)
        except UNDECODABLE as error:
            ok, detail = False, f"could not be checked: {type(error).__name__}: {error}"
        findings.append(LintFinding(slug, ok, detail, source))
    return findings


_Outcome = tuple[bool, str]


def _key(case: _Case) -> _Outcome:
    if not case.csr.is_signature_valid:
        return False, "the signature of the CSR is invalid"
    same = spki(case.csr.public_key()) == spki(case.certificate.public_key())
    return same, f"certificate and CSR have {'the same public key' if same else 'different public keys'}"


def _chain(case: _Case) -> _Outcome:
    if not case.chain:
        return False, "the response holds no CA certificate"
    for child, issuer in pairwise([case.certificate, *case.chain]):
        fault = _link_fault(child, issuer, case.now)
        if fault:
            return False, fault
    last = case.chain[-1]
    if case.ca_trust is not None and not any(last == root or _issued(last, root) for root in case.ca_trust):
        return False, f"the chain ends in {_name(last)}, which no trusted CA issued"
    ends = min(authority.not_valid_after_utc for authority in case.chain)
    note = ""
    if ends < case.certificate.not_valid_after_utc:
        note = f"; a CA in it expires first, on {iso(ends)}, and the certificate stops working then"
    cas = "1 CA" if len(case.chain) == 1 else f"{len(case.chain)} CAs"
    return True, f"{cas} up to {_name(last)}, every signature verified{note}"


def _link_fault(child: x509.Certificate, issuer: x509.Certificate, now: datetime) -> str:
    """Why `issuer` is not a CA that issued `child`; empty if it is (RFC 5280, section 6.1.4)."""
    if not is_ca(issuer):
        return f"{_name(issuer)} is not a CA"
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is not None and not usage.key_cert_sign:
        return f"{_name(issuer)} may not sign certificates (keyCertSign is not set)"
    if not issuer.not_valid_before_utc - SLACK <= now <= issuer.not_valid_after_utc:
        return f"the CA {_name(issuer)} is not valid at {iso(now)}"
    if not _issued(child, issuer):
        return f"{_name(issuer)} did not sign {_name(child)}"
    return ""


def _issued(child: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether names and signature match. Raises UnsupportedAlgorithm for a signature with MD5 or SHA-1."""
    try:
        child.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _client_auth(case: _Case) -> _Outcome:
    usage = extended_key_usage(case.certificate)
    return "clientAuth" in usage, f"extended key usage: {', '.join(usage) or 'absent'}"


def _not_a_ca(case: _Case) -> _Outcome:
    ca = is_ca(case.certificate)
    return not ca, "is a CA and could issue certificates" if ca else "is not a CA"


def _in_date(case: _Case) -> _Outcome:
    start, end = case.certificate.not_valid_before_utc, case.certificate.not_valid_after_utc
    detail = f"valid from {iso(start)} to {iso(end)}; it is now {iso(case.now)}"
    return start - SLACK <= case.now < end and start < end, detail


def _lifetime(case: _Case) -> _Outcome:
    lifetime = case.certificate.not_valid_after_utc - case.certificate.not_valid_before_utc
    return lifetime <= MAX_LIFETIME, f"{lifetime / timedelta(days=1):.1f} days; at most {MAX_LIFETIME.days} are allowed"


def _end_date(case: _Case) -> _Outcome:
    end = case.certificate.not_valid_after_utc
    if case.end_date is None:
        return True, f"ends {iso(end)}; no end was requested"
    # DigiCert ONE's dates are day-granular: only the day was requested
    return end.date() == _utc_date(case.end_date), f"ends {iso(end)}; requested was {iso(case.end_date)}"


def _subject(case: _Case) -> _Outcome:
    asked, got = _attributes(case.csr.subject), _attributes(case.certificate.subject)
    changed = [oid for oid in asked if got.get(oid) != asked[oid]]
    detail = f"the certificate names {case.certificate.subject.rfc4514_string()}"
    if changed:
        return False, f"{detail}, but the CSR {case.csr.subject.rfc4514_string()}"
    added = [x509.NameAttribute(oid, got[oid][0]).rfc4514_string() for oid in got if oid not in asked]
    return True, f"{detail}; added by the CA: {', '.join(added)}" if added else detail


def _strength(case: _Case) -> _Outcome:
    # a root's signature over itself proves nothing, so its hash does not matter
    signed = [case.certificate, *(authority for authority in case.chain if authority.issuer != authority.subject)]
    weak = [_name(certificate) for certificate in (case.certificate, *case.chain) if not _strong_key(certificate)]
    weak += [_name(certificate) for certificate in signed if _hash(certificate) not in _STRONG_HASHES]
    detail = f"{describe_key(case.certificate.public_key())}, signed with {_hash(case.certificate)}"
    return not weak, f"{detail}; too weak: {', '.join(dict.fromkeys(weak))}" if weak else detail


def _strong_key(certificate: x509.Certificate) -> bool:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= 2048
    if isinstance(key, ec.EllipticCurvePublicKey):
        # a CA may use P-521; for our own key only P-256 and P-384 are offered
        return key.curve.name in _STRONG_CURVES or (is_ca(certificate) and key.curve.name == "secp521r1")
    return False


def _hash(certificate: x509.Certificate) -> str:
    algorithm = certificate.signature_hash_algorithm
    return algorithm.name if algorithm is not None else "no hash"


def _serial(case: _Case) -> _Outcome:
    serial = serial_number(case.certificate)
    octets = serial.bit_length() // 8 + 1  # DER keeps one bit for the sign
    return serial > 0 and octets <= 20, f"{serial:X}, {octets} octets"


def _key_usage(case: _Case) -> _Outcome:
    try:
        usage = case.certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True, "key usage: absent, so every use is allowed"
    signs = usage.digital_signature
    return signs, f"digitalSignature is {'set' if signs else 'not set, but TLS needs it'}"


def _name(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()


def _attributes(name: x509.Name) -> dict[x509.ObjectIdentifier, list[str]]:
    found: dict[x509.ObjectIdentifier, list[str]] = {}
    for attribute in name:
        found.setdefault(attribute.oid, []).append(str(attribute.value))
    return found


def _utc_date(moment: datetime) -> object:
    return datetime.fromisoformat(iso(moment)).date()


_TUTORIAL = "DigiCert, Set up service user multi-factor authentication"

_RULES: dict[str, tuple[str, Callable[[_Case], _Outcome]]] = {
    "key": ("RFC 2986, section 3", _key),
    "chain": ("RFC 5280, section 6.1", _chain),
    "client-auth": ("RFC 5280, section 4.2.1.12", _client_auth),
    "not-a-ca": ("RFC 5280, section 4.2.1.9", _not_a_ca),
    "in-date": ("RFC 5280, section 4.1.2.5", _in_date),
    "lifetime": (f"{_TUTORIAL}: Client certificate expiration and rotation", _lifetime),
    "end-date": (f"{_TUTORIAL}: step 2", _end_date),
    "subject": (f"{_TUTORIAL}: step 1", _subject),
    "strength": ("NIST SP 800-131A Rev. 2, sections 3 and 9", _strength),
    "serial": ("RFC 5280, section 4.1.2.2", _serial),
    "key-usage": ("RFC 5280, section 4.2.1.3; RFC 8446, section 4.4.2.4", _key_usage),
}

"""Explains why a server's certificate was not accepted, and what to do: `ca_file` fixes only one of the causes."""

from __future__ import annotations

import ssl

from runbook_lib.errors import Reason, RunbookError

_STRICT = (
    *("authority key identifier", "subject key identifier", "basic constraints", "key usage", "pathlen"),
    *("require version 3", "name empty", "subject alternative name", "signature algorithm mismatch"),
)
"""OpenSSL's words for what only VERIFY_X509_STRICT refuses, which Python sets from 3.13 on."""

_OTHERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("hostname mismatch", "ip address mismatch"),
        "Use the host name in the certificate, or ask the server's owner for a certificate with this name among its "
        "subject alternative names.",
    ),
    (
        ("has expired",),
        "Check this machine's clock with `runbook doctor`. If it is right, ask the server's owner to renew the "
        "certificate, or the CA above it.",
    ),
    (
        ("not yet valid",),
        "Check this machine's clock with `runbook doctor`. If it is right, ask the server's owner.",
    ),
    (
        ("too small", "too weak"),
        "Ask the CA's owner for certificates with RSA 2048 or P-256 keys, signed with SHA-256 or better.",
    ),
    (
        ("purpose",),
        "Ask the server's owner for a certificate whose extended key usage allows serverAuth.",
    ),
    (
        ("invalid ca", "path length"),
        "Ask the CA's owner for a chain of CAs: a certificate in this chain may not issue others (basicConstraints).",
    ),
    (
        ("subtree", "name constraints"),
        "Ask the CA's owner for a certificate from a CA that may name this host: this CA is restricted to other names "
        "(name constraints).",
    ),
)

_UNKNOWN_ISSUER = (
    "If a company proxy, a private CA or a sandbox signs this certificate, name its CA in `ca_file` "
    "(DIGICERT_ONE_CA_FILE). If `ca_file` is set, it does not hold the CA that signed: `openssl s_client -connect "
    "{host} -showcerts` shows which. If the server does not send its intermediate CAs, add them to the file too. "
    "Otherwise treat this as an attack."
)


def not_trusted(error: ssl.SSLCertVerificationError, host: str) -> RunbookError:
    """The RunbookError for a certificate that OpenSSL did not accept."""
    cause = error.verify_message or error.reason or "no reason given"
    text = cause.lower()
    what = f"The certificate of {host} was not accepted: {cause.rstrip('.')}."
    if any(word in text for word in _STRICT):
        return RunbookError(
            Reason.TLS_NOT_TRUSTED,
            f"{what} It breaks a rule of RFC 5280 that Python checks from version 3.13 on (VERIFY_X509_STRICT).",
            remedy=f"{_ask_for(text)} Until then, Python 3.12 or earlier accepts it; `ca_file` does not fix this.",
        )
    for words, remedy in _OTHERS:
        if any(word in text for word in words):
            return RunbookError(Reason.TLS_NOT_TRUSTED, what, remedy=remedy)
    place = host if ":" in host.rpartition("]")[2] else f"{host}:443"
    return RunbookError(Reason.TLS_NOT_TRUSTED, what, remedy=_UNKNOWN_ISSUER.format(host=place))


def _ask_for(text: str) -> str:
    if "authority key identifier" in text:
        return (
            "Ask the CA's owner to reissue the server's certificate, and every CA below the root, with the extension "
            "authorityKeyIdentifier (in openssl's configuration for signing: `authorityKeyIdentifier = keyid`)."
        )
    if "subject key identifier" in text:
        return "Ask the CA's owner for CA certificates with the extension subjectKeyIdentifier."
    if "basic constraints" in text:
        return "Ask the CA's owner for CA certificates whose basicConstraints are marked critical."
    if "key usage" in text:
        return "Ask the CA's owner for CA certificates with a keyUsage that has keyCertSign."
    return "Ask the CA's owner for certificates that follow RFC 5280 here."

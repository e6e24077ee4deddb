"""Why a server's certificate was not accepted, and what mends it: `ca_file` is the answer to one of the causes only."""

from __future__ import annotations

import ssl

from runbook_lib.errors import Reason, RunbookError

_STRICT = (
    *("authority key identifier", "subject key identifier", "basic constraints", "key usage", "pathlen"),
    *("require version 3", "name empty", "subject alternative name", "signature algorithm mismatch"),
)
"""In the words of OpenSSL: what only VERIFY_X509_STRICT refuses, which Python sets from 3.13 on."""

_OTHERS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("hostname mismatch", "ip address mismatch"),
        "Use the host name that the certificate is for, or ask the server's owner for one with this name among its "
        "subject alternative names.",
    ),
    (
        ("has expired",),
        "Ask the server's owner to renew it, or the CA above it; if the date is wrong here, set this machine's clock: "
        "`runbook doctor` compares it.",
    ),
    (("not yet valid",), "Check this machine's clock with `runbook doctor`; else ask the server's owner."),
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
        "A certificate in the chain may not issue others (basicConstraints). Ask the CA's owner for a chain of CAs.",
    ),
    (
        ("subtree", "name constraints"),
        "The CA is restricted to other names (name constraints). Ask its owner for a certificate from a CA that may "
        "name this host.",
    ),
)

_UNKNOWN_ISSUER = (
    "If `ca_file` (DIGICERT_ONE_CA_FILE) is not set and a company proxy, a private CA or a sandbox signs it, name its "
    "CA there. If it is set, it holds another CA than the one that signed this: `openssl s_client -connect {host} "
    "-showcerts` shows which; where the server does not send the CAs in between, put them into the file too. Otherwise "
    "treat it as an attack."
)


def not_trusted(error: ssl.SSLCertVerificationError, host: str) -> RunbookError:
    """The reason behind a certificate that OpenSSL did not accept."""
    said = error.verify_message or error.reason or "no reason given"
    text = said.lower()
    what = f"The certificate of {host} was not accepted: {said.rstrip('.')}."
    if any(word in text for word in _STRICT):
        return RunbookError(
            Reason.TLS_NOT_TRUSTED,
            f"{what} It breaks a rule of RFC 5280 that Python checks from version 3.13 on (VERIFY_X509_STRICT).",
            remedy=f"`ca_file` does not mend this. {_ask_for(text)} Until then, Python 3.12 or earlier accepts it.",
        )
    for words, remedy in _OTHERS:
        if any(word in text for word in words):
            return RunbookError(Reason.TLS_NOT_TRUSTED, what, remedy=remedy)
    place = host if ":" in host.rpartition("]")[2] else f"{host}:443"
    return RunbookError(Reason.TLS_NOT_TRUSTED, what, remedy=_UNKNOWN_ISSUER.format(host=place))


def _ask_for(text: str) -> str:
    if "authority key identifier" in text:
        return (
            "Ask the CA's owner to issue the server's certificate, and every CA below the root, anew with the "
            "extension authorityKeyIdentifier (openssl: `authorityKeyIdentifier = keyid` where it signs)."
        )
    if "subject key identifier" in text:
        return "Ask the CA's owner for CA certificates with the extension subjectKeyIdentifier."
    if "basic constraints" in text:
        return "Ask the CA's owner for CA certificates whose basicConstraints are marked critical."
    if "key usage" in text:
        return "Ask the CA's owner for CA certificates with a keyUsage that has keyCertSign."
    return "Ask the CA's owner for certificates that follow RFC 5280 in this."

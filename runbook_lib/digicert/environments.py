"""Which DigiCert ONE is meant: the two hosts and what to trust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from runbook_lib import given
from runbook_lib.errors import Reason, RunbookError

HOSTS: dict[str, str] = {
    "production": "one.digicert.com",
    "production-ch": "one.ch.digicert.com",
    "production-jp": "one.digicert.co.jp",
    "production-nl": "one.nl.digicert.com",
    "demo": "demo.one.digicert.com",
    "demo-ch": "demo.one.ch.digicert.com",
    "demo-jp": "demo.one.digicert.co.jp",
    "demo-nl": "demo.one.nl.digicert.com",
}
"""DigiCert's published regions. Credentials work only on the host where they were made."""

FROM_VARIABLES = ("sandbox", "configured")
"""`sandbox` and `configured` are whatever DIGICERT_ONE_URL names; `sandbox` only on this machine."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Environment:
    """One DigiCert ONE.

    Args:
        name: short and safe as a folder's name; a host's name where it has no short one.
        api_url: for the API key, without a slash at the end.
        clientauth_url: for mTLS, without a slash at the end.
        ca_file: PEM of what to trust instead of the system's CAs.
    """

    name: str
    api_url: str
    clientauth_url: str
    ca_file: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine, so is a sandbox."""
        return urlsplit(self.api_url).hostname in _LOOPBACK

    @classmethod
    def named(cls, text: str, *, environ: Mapping[str, str], ca_file: str = "") -> Environment:
        """The environment of a short name, or of an `https://HOST`.

        Raises:
            RunbookError: BAD_PARAMETER for anything else, for plain http, and for a host that begins with `clientauth.`
                (it is put in front here); SECRET_NOT_FOUND never.
        """
        text = text.strip()
        trust = _file("ca_file", ca_file, environ)
        if text in FROM_VARIABLES:
            return cls._from_variables(text, environ, trust)
        host = HOSTS.get(text)
        if host is None and "://" not in text:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"environment: {text!r} is none of {', '.join((*FROM_VARIABLES, *HOSTS))}, nor an https:// address.",
            )
        api = _checked(text if host is None else f"https://{host}")
        parts = urlsplit(api)
        return cls(_short_name(api), api, f"https://clientauth.{parts.netloc}", trust)

    @classmethod
    def _from_variables(cls, name: str, environ: Mapping[str, str], trust: Path | None) -> Environment:
        if not environ.get("DIGICERT_ONE_URL"):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"environment is {name!r}, and the variable DIGICERT_ONE_URL, which says where that is, is not set.",
                remedy="For the sandbox: `runbook sandbox start --state DIR`, then `set -a; . DIR/sandbox.env`. "
                "For a real one: choose demo or production as `environment`.",
            )
        api = _checked(environ["DIGICERT_ONE_URL"])
        clientauth = environ.get("DIGICERT_ONE_CLIENTAUTH_URL") or f"https://clientauth.{urlsplit(api).netloc}"
        if not clientauth.startswith("https://"):
            raise RunbookError(
                Reason.BAD_PARAMETER, f"DIGICERT_ONE_CLIENTAUTH_URL is no https:// address: {clientauth}"
            )
        trust = trust or _file("DIGICERT_ONE_CA_FILE", environ.get("DIGICERT_ONE_CA_FILE", ""), environ)
        local = urlsplit(api).hostname in _LOOPBACK
        if name == "sandbox" and not local:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"environment is 'sandbox', and DIGICERT_ONE_URL names {api}, which is not on this machine.",
                remedy="Say `environment: configured` if that host is what you mean.",
            )
        return cls("sandbox" if local else _short_name(api), api, clientauth.rstrip("/"), trust)


def _file(what: str, text: str, environ: Mapping[str, str]) -> Path | None:
    """A CA file that is there; None where none is named."""
    if not text:
        return None
    try:
        path = given.path(text, environ)
        found = path.is_file()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RunbookError(Reason.BAD_PARAMETER, f"{what}: {why}.") from None
    if not found:
        raise RunbookError(Reason.BAD_PARAMETER, f"{what}: the CA file {path} does not exist.")
    return path


def _checked(url: str) -> str:
    parts = urlsplit(url.strip())
    try:
        port_fits = parts.port is None or parts.port > 0
    except ValueError:
        port_fits = False
    if parts.scheme != "https" or not parts.hostname or not port_fits or parts.username or parts.query:
        raise RunbookError(Reason.BAD_PARAMETER, f"environment: {url!r} is no https:// address of a host.")
    if parts.path not in ("", "/"):
        raise RunbookError(Reason.BAD_PARAMETER, f"environment: {url!r} has a path; give only https://HOST.")
    if parts.hostname.startswith("clientauth."):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"environment: {parts.hostname} is the host for mTLS.",
            remedy=f"Give https://{parts.hostname.removeprefix('clientauth.')}; the rest is added where it is due.",
        )
    return f"https://{parts.netloc}"


def _short_name(api_url: str) -> str:
    netloc = urlsplit(api_url).netloc.lower()
    known = {host: name for name, host in HOSTS.items()}
    return known.get(netloc, netloc.replace(":", "_"))

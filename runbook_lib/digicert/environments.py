"""Environments: the two hosts of a DigiCert ONE, and the CAs to trust."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

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
"""DigiCert's published regions. Credentials work only on the host that made them."""

FROM_VARIABLES = ("sandbox", "configured")
"""Environments that DIGICERT_ONE_URL names; `sandbox` must be on this machine."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")

_LONGEST_HOST = 253
_LARGEST_CA_FILE = 16 * 2**20
_PLACE = re.compile(r"(\[[^\[\]]+\]|[^\[\]:]+)(:[0-9]{1,5})?")
_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
"""A part of a host name (RFC 1035, section 2.3.4); underscores occur in company networks."""


@dataclass(frozen=True)
class Environment:
    """One DigiCert ONE.

    Args:
        name: safe as a folder name; the host name if there is no short one.
        api_url: for the API key, without a slash at the end.
        clientauth_url: for mTLS, without a slash at the end.
        ca_file: PEM of the CAs to trust instead of the system's.
    """

    name: str
    api_url: str
    clientauth_url: str
    ca_file: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether it runs on this machine, which makes it a sandbox."""
        return urlsplit(self.api_url).hostname in _LOOPBACK

    @classmethod
    def named(cls, text: str, *, environ: Mapping[str, str], ca_file: str = "") -> Environment:
        """The environment of a short name, or of an `https://HOST`.

        Raises:
            RunbookError: BAD_PARAMETER for anything else, for plain http, and for a host that starts with
                `clientauth.`, which is added here.
        """
        text = text.strip()
        trust = _file("ca_file", ca_file, environ)
        if text in FROM_VARIABLES:
            return cls._from_variables(text, environ, trust)
        host = HOSTS.get(text)
        if host is None and "://" not in text:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"{_shown('environment', text)} must be one of {', '.join((*FROM_VARIABLES, *HOSTS))}, or an https:// "
                "address.",
            )
        api = _api_url(text if host is None else f"https://{host}", "environment")
        parts = urlsplit(api)
        return cls(_short_name(api), api, f"https://clientauth.{parts.netloc}", trust)

    @classmethod
    def _from_variables(cls, name: str, environ: Mapping[str, str], trust: Path | None) -> Environment:
        if not environ.get("DIGICERT_ONE_URL"):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"environment is {name!r}, but the variable DIGICERT_ONE_URL, which names its host, is not set.",
                remedy="For the sandbox, run `runbook sandbox start --state DIR`, then `set -a; . DIR/sandbox.env`. "
                "For a real account, set `environment` to demo or production.",
            )
        api = _api_url(environ["DIGICERT_ONE_URL"], "DIGICERT_ONE_URL")
        mtls = environ.get("DIGICERT_ONE_CLIENTAUTH_URL", "").strip()
        clientauth = (
            base_url(mtls, "DIGICERT_ONE_CLIENTAUTH_URL") if mtls else f"https://clientauth.{urlsplit(api).netloc}"
        )
        trust = trust or _file("DIGICERT_ONE_CA_FILE", environ.get("DIGICERT_ONE_CA_FILE", ""), environ)
        local = urlsplit(api).hostname in _LOOPBACK
        if name == "sandbox" and not local:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"environment is 'sandbox', but DIGICERT_ONE_URL names {api}, which is not on this machine.",
                remedy="If you mean that host, set `environment: configured`.",
            )
        return cls("sandbox" if local else _short_name(api), api, clientauth, trust)


def _file(what: str, text: str, environ: Mapping[str, str]) -> Path | None:
    """The path of an existing CA file; None if none is named."""
    if not text:
        return None
    try:
        path = given.path(text, environ)
        found = path.is_file() and path.stat().st_size <= _LARGEST_CA_FILE
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise RunbookError(Reason.BAD_PARAMETER, f"{what}: {why}.") from None
    if not found:
        raise RunbookError(Reason.BAD_PARAMETER, f"{what}: the CA file {path} does not exist, or is larger than 16 MB.")
    return path


def base_url(text: str, source: str) -> str:
    """Normalise `https://HOST` or `https://HOST:PORT` to ASCII without a slash at the end.

    Args:
        source: the parameter or variable that holds it, for the message, which shows the value only if it cannot
            contain a user name or password.

    Raises:
        RunbookError: BAD_PARAMETER.
    """
    url = text.strip()
    shown = _shown(source, url)
    if "@" in url:
        raise _bad(shown, "contains a user name or a password; enter only https://HOST")
    if not url.isascii():
        raise _bad(shown, "has a character outside ASCII; write the host name in its ASCII form (xn--…)")
    if not url.isprintable() or " " in url or "\\" in url:
        raise _bad(shown, "contains a space, a line end or another invalid character")
    try:
        parts = split_address(url)
    except ValueError:
        raise _bad(
            shown,
            "has an invalid host or port: an empty or too long part, an invalid character, a zone (%), or a port "
            "outside 1 to 65535",
        ) from None
    if parts.scheme != "https":
        raise _bad(shown, "must be the https:// address of a host")
    if "?" in url or "#" in url or parts.path not in ("", "/"):
        raise _bad(shown, "has a path, a query or a fragment; enter only https://HOST")
    return f"https://{parts.netloc}"


def split_address(url: str) -> SplitResult:
    """Split an address into its parts. Raises ValueError for an invalid host or port."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    if not _PLACE.fullmatch(place) or parts.port == 0:
        raise ValueError("no host, or no port after the colon")
    host = place.rpartition(":")[0] if parts.port else place
    if host.startswith("["):
        if IPv6Address(host[1:-1]).scope_id is not None:
            raise ValueError("a zone")
    elif len(host) > _LONGEST_HOST or not all(map(_LABEL.fullmatch, host.removesuffix(".").split("."))):
        raise ValueError("no host name")
    return parts


def _shown(source: str, text: str) -> str:
    return source if "@" in text else f"{source}: {given.shown(text)}"


def _bad(shown: str, why: str) -> RunbookError:
    return RunbookError(Reason.BAD_PARAMETER, f"{shown} {why}.")


def _api_url(text: str, source: str) -> str:
    api = base_url(text, source)
    host = urlsplit(api).hostname or ""
    if host.startswith("clientauth."):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{source}: {host} is the host for mTLS.",
            remedy=f"Enter https://{host.removeprefix('clientauth.')}; `clientauth.` is added where it is needed.",
        )
    return api


def _short_name(api_url: str) -> str:
    netloc = urlsplit(api_url).netloc.lower()
    known = {host: name for name, host in HOSTS.items()}
    return known.get(netloc, netloc.replace(":", "_"))

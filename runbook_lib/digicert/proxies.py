"""The proxy that the environment's variables name for a host, checked before anything is sent to it."""

from __future__ import annotations

import os

from requests.utils import get_environ_proxies, select_proxy

from runbook_lib.digicert.environments import split_address
from runbook_lib.errors import Reason, RunbookError

_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def proxies_for(url: str) -> dict[str, str]:
    """What requests takes as `proxies` for this address; empty where it is reached directly.

    A value is never shown: it may hold a password.

    Raises:
        RunbookError: BAD_PARAMETER for a proxy that is no HTTP proxy's address, and for a NO_PROXY that cannot be read.
    """
    try:
        proxy = select_proxy(url, get_environ_proxies(url))
    except ValueError:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "NO_PROXY cannot be read.",
            remedy="Write it as host names separated by commas, for example NO_PROXY=localhost,.example.com",
        ) from None
    if not proxy:
        return {}
    why, address = _checked(proxy)
    if why:
        source = next((name for name in _VARIABLES if os.environ.get(name) == proxy), "The proxy's variable")
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{source} {why}. Nothing was sent.",
            remedy=f"Set {source} to http://HOST:PORT (a password in it percent-encoded), or unset it; hosts that need "
            "no proxy go into NO_PROXY. `runbook doctor` tries it.",
        )
    return {"https": address}


def _checked(proxy: str) -> tuple[str, str]:
    """What is wrong with it, or nothing; and it with its scheme."""
    text = proxy.strip()
    if "://" not in text:
        text = "http://" + text.removeprefix("//")
    scheme = text.partition("://")[0].lower()
    if scheme.startswith("socks"):
        return f"names a SOCKS proxy ({scheme}), and only HTTP proxies are spoken to", ""
    if scheme not in ("http", "https"):
        return "names a proxy of another kind than http:// or https://", ""
    if not text.isprintable() or " " in text:
        return "holds a space, a line end or another character that no address has", ""
    try:
        split_address(text)
    except ValueError:
        return "is not the address of a proxy: its host or its port is malformed", ""
    return "", text

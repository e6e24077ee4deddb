"""Finds the proxy that environment variables name for a host, and checks it before anything is sent to it."""

from __future__ import annotations

import os

from requests.utils import get_environ_proxies, select_proxy

from runbook_lib.digicert.environments import split_address
from runbook_lib.errors import Reason, RunbookError

_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


def proxies_for(url: str) -> dict[str, str]:
    """The `proxies` argument of requests for this address; empty if it is reached directly.

    A value is never shown: it may hold a password.

    Raises:
        RunbookError: BAD_PARAMETER for anything but the address of an HTTP proxy, and for an unreadable NO_PROXY.
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
            remedy=f"Set {source} to http://HOST:PORT (percent-encode a password), or unset it. List hosts that need "
            "no proxy in NO_PROXY. `runbook doctor` tests it.",
        )
    return {"https": address}


def _checked(proxy: str) -> tuple[str, str]:
    """What is wrong with a proxy's address (empty if nothing), and the address with its scheme."""
    text = proxy.strip()
    if "://" not in text:
        text = "http://" + text.removeprefix("//")
    scheme = text.partition("://")[0].lower()
    if scheme.startswith("socks"):
        return f"names a SOCKS proxy ({scheme}), but only HTTP proxies are supported", ""
    if scheme not in ("http", "https"):
        return "must start with http:// or https://", ""
    if not text.isprintable() or " " in text:
        return "contains a space, a line end or another invalid character", ""
    try:
        split_address(text)
    except ValueError:
        return "is not the address of a proxy: its host or port is malformed", ""
    return "", text

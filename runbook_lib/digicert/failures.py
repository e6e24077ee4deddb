"""Turns transport errors and error responses into reasons."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from http.client import HTTPException, IncompleteRead
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import DecodeError, InvalidChunkLength, NameResolutionError, NewConnectionError

from runbook_lib.digicert.models import read_errors
from runbook_lib.digicert.trust import not_trusted
from runbook_lib.digicert.wire import LimitReached, TooSlow
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.secrets import Secret

NOTHING_ISSUED = frozenset(
    {
        Reason.API_KEY_REFUSED,
        Reason.API_KEY_MALFORMED,  # never sent
        Reason.BAD_PARAMETER,  # never sent: an invalid proxy
        Reason.NO_ACCESS,
        Reason.INVALID_INPUT,
        Reason.NOT_MULTI_FACTOR,
        Reason.NOT_FOUND,
        Reason.UNREACHABLE,  # for a POST: never sent
        Reason.TIMED_OUT,  # for a POST: never connected
        Reason.TLS_NOT_TRUSTED,
    }
)
"""After a POST that failed for one of these, no certificate was issued."""

E = TypeVar("E", bound=BaseException)

_LONGEST_MESSAGE = 300

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})\b")
"""The standard library's message with a proxy's response to CONNECT."""


def transport_problem(error: Exception, method: str, url: str) -> RunbookError:
    """The RunbookError for an exception of requests. `url` must not hold a secret."""
    host = urlsplit(url).netloc
    causes = list(_causes(error))
    if isinstance(error, LimitReached):
        return _limit_problem(error, method, host)
    if isinstance(error, requests.exceptions.ProxyError):
        return _proxy_problem(causes, host)
    tls = _first(causes, ssl.SSLError)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return not_trusted(tls, host)
    if tls is not None and is_client_refusal(tls):
        return RunbookError(Reason.CERTIFICATE_REFUSED, f"{host} ended TLS with “{_alert(tls)}”.")
    never = (NewConnectionError, NameResolutionError, requests.ConnectTimeout)
    never_sent = any(isinstance(cause, never) for cause in causes)
    if method == "POST" and not never_sent:
        return RunbookError(
            Reason.OUTCOME_UNKNOWN, f"The request to {host} was sent, but no complete response came back."
        )
    if isinstance(error, requests.Timeout) or _first(causes, TimeoutError):
        return RunbookError(Reason.TIMED_OUT, f"{host} did not answer in time.")
    if tls is not None:
        return RunbookError(Reason.UNREACHABLE, f"No TLS connection with {host}: {_alert(tls)}.")
    if _first(causes, NameResolutionError):
        return RunbookError(Reason.UNREACHABLE, f"The name {urlsplit(url).hostname} does not resolve.")
    if any(map(_is_no_http, causes)):
        return RunbookError(Reason.UNEXPECTED_ANSWER, f"The response of {host} is not valid HTTP.")
    detail = _strerror(causes) or "the connection broke"
    return RunbookError(Reason.UNREACHABLE, f"{host} cannot be reached: {detail}.")


def _first(causes: list[BaseException], kind: type[E]) -> E | None:
    return next((cause for cause in causes if isinstance(cause, kind)), None)


def _strerror(causes: list[BaseException]) -> str:
    return next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "")


def _is_no_http(error: BaseException) -> bool:
    """Whether there was a response whose status line, headers, chunks or encoding cannot be read."""
    if isinstance(error, (OSError, IncompleteRead, requests.RequestException)):  # OSError: the server just went away
        return isinstance(error, InvalidChunkLength)
    return isinstance(error, (HTTPException, DecodeError, ValueError))


def _limit_problem(error: LimitReached, method: str, host: str) -> RunbookError:
    if method == "POST":
        return RunbookError(Reason.OUTCOME_UNKNOWN, f"The request to {host} was sent, but {error}.")
    reason = Reason.TIMED_OUT if isinstance(error, TooSlow) else Reason.UNEXPECTED_ANSWER
    return RunbookError(reason, f"{host}: {error}.")


def said_by_server(text: str, api_key: Secret | None) -> str:
    """A server's text, shortened, on one line, so that no part passes for a line of ours, and without the API key."""
    text = text[: _LONGEST_MESSAGE * 20]
    if api_key is not None:
        text = text.replace(api_key.reveal(), "[api key]")
    return " ".join(text.split())[:_LONGEST_MESSAGE]


def _proxy_problem(causes: list[BaseException], host: str) -> RunbookError:
    """The error for a proxy that did not connect. The request was not sent. Only the proxy's status is shown."""
    refusal = next((match for match in map(_TUNNEL.search, map(str, causes)) if match), None)
    tls = _first(causes, ssl.SSLError)
    if refusal:
        detail = f"it answered HTTP {refusal[1]}"
        detail += " (it requires a user name and a password)" if refusal[1] == "407" else ""
    elif _first(causes, NameResolutionError):
        detail = "its own name does not resolve"
    elif isinstance(tls, ssl.SSLCertVerificationError):
        detail = f"its certificate was not accepted ({tls.verify_message or tls.reason})"
    elif tls is not None:
        detail = f"no TLS connection with it: {_alert(tls)}"
    elif _first(causes, TimeoutError):
        detail = "it did not answer in time"
    else:
        detail = _strerror(causes) or "the connection broke"
    return RunbookError(
        Reason.UNREACHABLE,
        f"The proxy in front of {host} did not connect: {detail}.",
        remedy="Check HTTPS_PROXY and NO_PROXY.",
    )


def is_client_refusal(error: ssl.SSLError) -> bool:
    """Whether a TLS alert is about the client's certificate (RFC 8446, section 6.2).

    In TLS 1.3 it arrives with the first read, after the handshake looked complete.
    """
    return any(
        name in (error.reason or "")
        for name in (
            "ALERT_UNKNOWN_CA",
            "ALERT_BAD_CERTIFICATE",
            "ALERT_CERTIFICATE_EXPIRED",
            "ALERT_CERTIFICATE_REVOKED",
            "ALERT_CERTIFICATE_UNKNOWN",
            "ALERT_CERTIFICATE_REQUIRED",
            "ALERT_UNSUPPORTED_CERTIFICATE",
            "ALERT_ACCESS_DENIED",
        )
    )


def answer_problem(
    status: int, body: Any, text: str, base_url: str, api_key: Secret | None, retry_after: float | None
) -> RunbookError:
    """The RunbookError for an error response.

    Args:
        api_key: removed from the server's text, if it is in it.
        retry_after: seconds that the server asks to wait; None if it does not.
    """
    host = urlsplit(base_url).netloc
    errors = read_errors(body)
    codes = {error.code for error in errors}
    message = "; ".join(f"{error.code}: {error.message}" if error.code else error.message for error in errors)
    if not errors:
        message = (
            "an HTML page"
            if "<html" in text[:2000].lower()
            else "no error message"
            if text.strip()
            else "an empty body"
        )
    message = said_by_server(message, api_key)
    what = f"{host} answered HTTP {status}: {message}."
    return RunbookError(_reason(status, codes, message, api_key is not None), what, retry_after=retry_after)


def _reason(status: int, codes: set[str], message: str, with_key: bool) -> Reason:
    by_code = {
        "duplicate_error": Reason.DUPLICATE_NAME,
        "no_access": Reason.NO_ACCESS,
        "invalid_input_field": Reason.INVALID_INPUT,
    }
    for code, reason in by_code.items():
        if code in codes:
            return reason
    if "multi-factor" in message.lower():
        return Reason.NOT_MULTI_FACTOR
    if status in (401, 403):
        return Reason.API_KEY_REFUSED if with_key else Reason.CERTIFICATE_REFUSED
    by_status = {404: Reason.NOT_FOUND, 429: Reason.RATE_LIMITED, 400: Reason.INVALID_INPUT, 422: Reason.INVALID_INPUT}
    if status >= 500:
        return Reason.SERVER_ERROR
    return by_status.get(status, Reason.UNEXPECTED_ANSWER)


def _alert(error: ssl.SSLError) -> str:
    return (error.reason or "a TLS error").lower().replace("_", " ")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and everything it wraps, as cause, context, reason or argument."""
    todo: list[Any] = [error]
    seen: set[int] = set()
    while todo:
        cause = todo.pop(0)
        if not isinstance(cause, BaseException) or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        todo += [cause.__cause__, cause.__context__, getattr(cause, "reason", None), *cause.args]

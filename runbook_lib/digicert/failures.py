"""From what went wrong on the wire to a reason."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import NameResolutionError, NewConnectionError

from runbook_lib.digicert.models import read_errors
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.secrets import Secret

_LONGEST_MESSAGE = 300


def transport_problem(error: Exception, method: str, url: str) -> RunbookError:
    """The reason behind an exception of requests. `url` holds no secret."""
    host = urlsplit(url).netloc
    causes = list(_causes(error))
    tls = next((one for one in causes if isinstance(one, ssl.SSLError)), None)
    if isinstance(tls, ssl.SSLCertVerificationError):
        return RunbookError(
            Reason.TLS_NOT_TRUSTED, f"The certificate of {host} was not accepted: {tls.verify_message or tls.reason}."
        )
    if tls is not None and is_client_refusal(tls):
        return RunbookError(Reason.CERTIFICATE_REFUSED, f"{host} ended TLS with “{_alert(tls)}”.")
    never_sent = isinstance(error, requests.exceptions.ProxyError) or any(
        isinstance(one, (NewConnectionError, NameResolutionError, requests.ConnectTimeout)) for one in causes
    )
    if method == "POST" and not never_sent:
        return RunbookError(
            Reason.OUTCOME_UNKNOWN, f"The request to {host} was sent, and no complete answer came back."
        )
    if isinstance(error, requests.Timeout) or any(isinstance(one, TimeoutError) for one in causes):
        return RunbookError(Reason.TIMED_OUT, f"{host} did not answer in time.")
    if tls is not None:
        return RunbookError(Reason.UNREACHABLE, f"No TLS connection with {host}: {_alert(tls)}.")
    if isinstance(error, requests.exceptions.ProxyError):
        return RunbookError(
            Reason.UNREACHABLE,
            f"The proxy in front of {host} did not connect.",
            remedy="Check HTTPS_PROXY and NO_PROXY.",
        )
    if any(isinstance(one, NameResolutionError) for one in causes):
        return RunbookError(Reason.UNREACHABLE, f"The name {urlsplit(url).hostname} does not resolve.")
    detail = next((one.strerror for one in causes if isinstance(one, OSError) and one.strerror), "the connection broke")
    return RunbookError(Reason.UNREACHABLE, f"{host} cannot be reached: {detail}.")


def is_client_refusal(error: ssl.SSLError) -> bool:
    """Whether a TLS alert speaks of the client's certificate (RFC 8446, section 6.2).

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
    """The reason behind an answer that is no success.

    Args:
        api_key: whose value is taken out of what the server said, should it repeat it.
        retry_after: seconds it asked to wait; None where it did not.
    """
    host = urlsplit(base_url).netloc
    errors = read_errors(body)
    codes = {error.code for error in errors}
    said = "; ".join(f"{one.code}: {one.message}" if one.code else one.message for one in errors)
    if not errors:
        kind = (
            "an HTML page"
            if "<html" in text[:2000].lower()
            else "no error message"
            if text.strip()
            else "an empty body"
        )
        said = kind
    if api_key is not None:
        said = said.replace(api_key.reveal(), "[api key]")
    said = " ".join(said.split())  # a line of its own could pass for one of ours
    what = f"{host} answered HTTP {status}: {said[:_LONGEST_MESSAGE]}."
    return RunbookError(_reason(status, codes, said, api_key is not None), what, retry_after=retry_after)


def _reason(status: int, codes: set[str], said: str, with_key: bool) -> Reason:
    by_code = {
        "duplicate_error": Reason.DUPLICATE_NAME,
        "no_access": Reason.NO_ACCESS,
        "invalid_input_field": Reason.INVALID_INPUT,
    }
    for code, reason in by_code.items():
        if code in codes:
            return reason
    if "multi-factor" in said.lower():
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
    """An exception and everything it wraps, as cause, context, reason or argument."""
    todo: list[Any] = [error]
    seen: set[int] = set()
    while todo:
        one = todo.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]

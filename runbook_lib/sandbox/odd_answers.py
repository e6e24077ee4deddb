"""Faulty responses, which replace the proper one."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from runbook_lib.sandbox.faults import Rule

NO_ANSWER = 0
"""The status in the journal if nothing was sent."""

_PAGE = """<html>
<head><title>502 Bad Gateway</title></head>
<body><center><h1>502 Bad Gateway</h1></center><hr><center>nginx</center></body>
</html>
"""


class Dropped(web.Response):
    """Ends the connection without a byte of a response."""

    def __init__(self) -> None:
        super().__init__()
        self.set_status(200)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        _end(request, abort=True)
        raise ConnectionResetError("dropped on purpose")  # aiohttp takes it for a client that went away


class TruncatedAnswer(web.StreamResponse):
    """Sends the status, the headers and the first half of the body of a response, then ends the connection."""

    def __init__(self, whole: web.Response) -> None:
        super().__init__(status=whole.status, headers=whole.headers)
        self._whole = whole.body if isinstance(whole.body, bytes) else b""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self.content_length = len(self._whole)
        await super().prepare(request)
        await self.write(self._whole[: len(self._whole) // 2])
        _end(request, abort=False)
        raise ConnectionResetError("truncated on purpose")


def _end(request: web.BaseRequest, *, abort: bool) -> None:
    if request.transport is not None:
        (request.transport.abort if abort else request.transport.close)()


def instead(rule: Rule, answer: web.StreamResponse | None, now: datetime) -> web.StreamResponse:
    """The response that `rule` puts in place of `answer`, which is None if the request was not carried out."""
    match rule.fault:
        case "drop_before" | "drop_after":
            return Dropped()
        case "truncated" if isinstance(answer, web.Response):
            return TruncatedAnswer(answer)
        case "too_many_requests":
            return _error(429, "rate_limit_exceeded", "Too many requests", rule, now)
        case "internal_server_error":
            return _error(500, "internal_server_error", "Internal server error", rule, now)
        case "service_unavailable":
            return _error(503, "service_unavailable", "Service unavailable", rule, now)
        case "empty_answer":
            return web.Response(status=200, content_type="application/json")
        case "html_page":
            return web.Response(status=502, text=_PAGE, content_type="text/html")
    raise ValueError(rule.fault)


def http_date(moment: datetime) -> str:
    """A date as in RFC 9110, section 5.6.7."""
    return moment.strftime("%a, %d %b %Y %H:%M:%S GMT")


def lower_case_serials(answer: web.Response) -> web.Response:
    """The response with every serial number in lower case."""
    text = re.sub(r'"serial_number": "[0-9A-F]+"', lambda found: found[0].lower(), answer.text or "")
    return web.Response(status=answer.status, text=text, content_type="application/json")


def _error(status: int, code: str, message: str, rule: Rule, now: datetime) -> web.Response:
    body = {"errors": [{"code": code, "message": message}]}
    response = web.json_response(body, status=status)
    if rule.retry_after is not None:
        response.headers["Retry-After"] = str(rule.retry_after)
    if rule.retry_after_date is not None:
        response.headers["Retry-After"] = http_date(now + timedelta(seconds=rule.retry_after_date))
    return response

"""A typed client of the Account Manager API.

GET and PUT are idempotent, so they are retried. A POST is sent once; if its response is lost, the outcome is unknown.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any, TypeVar
from urllib.parse import quote

import requests
from pydantic import BaseModel, ValidationError
from urllib3.exceptions import HTTPError

from runbook_lib.digicert.answers import Doubled, moment, parse, seconds, text_of
from runbook_lib.digicert.budget import Budget, BudgetedRetry, Patience
from runbook_lib.digicert.environments import Environment
from runbook_lib.digicert.failures import answer_problem, said_by_server, transport_problem
from runbook_lib.digicert.listing import Listing, Page, read_all, wrong_fields
from runbook_lib.digicert.models import CertificateRequest, ClientAuthCertificate, EnableRequest, User
from runbook_lib.digicert.proxies import proxies_for
from runbook_lib.digicert.tls import ContextAdapter, TlsFacts, make_context, tls_facts
from runbook_lib.digicert.wire import ANSWER_SECONDS, LimitReached, answer_within, body_of
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from runbook_lib.secrets import Secret

_LOG = logging.getLogger(__name__)

ROOT = "/account/api/v1"
CERTIFICATES = f"{ROOT}/client-auth-certificate"
ME = f"{ROOT}/user/me"
USER_AGENT = "digicert-one-runbooks/0.1"

CONNECT_SECONDS = 10
READ_SECONDS = 30
RETRIES = 3
BACKOFF = 0.3
"""Seconds before the first retry; each later one waits twice as long."""
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Answer:
    """A complete HTTP response. `body` is the parsed JSON, or None if it is not JSON."""

    status: int
    body: Any
    text: str
    tls: TlsFacts | None
    retry_after: float | None
    """Seconds to wait before a retry, from Retry-After (RFC 9110, section 10.2.3); None if there is none."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """In lower case."""
    malformed: str = ""
    """Why the body is not JSON, in a few words."""


class Outcome(StrEnum):
    """The outcome of a probe: was the caller accepted?"""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NO_VERDICT = "no verdict"


@dataclass(frozen=True)
class Probe:
    """The result of one GET user/me.

    Args:
        outcome: REFUSED only if the server said so, over HTTP (401, 403) or with a TLS alert; a dead server gives
            NO_VERDICT.
        seen: what was seen, in a few words.
        status: the HTTP status, if there was one.
        error: why there was no verdict, or the refusal.
        server_clock: the server's time, if there was a response.
    """

    outcome: Outcome
    seen: str
    status: int | None = None
    user: User | None = None
    tls: TlsFacts | None = None
    error: RunbookError | None = None
    server_clock: datetime | None = None


class Client:
    """Calls one DigiCert ONE.

    Args:
        environment: which one.
        api_key: sent as `x-api-key`; None for mTLS alone and for controls.
        identity: the client certificate; None for an API key alone and for controls.
        clientauth: whether to call the host for mTLS.
        connect_seconds, read_seconds: how long to wait for a connection, and for each part of a response.
        answer_seconds: how long a complete response may take.
        budget: limits the requests to the host; None for no limit.
        connections: the most connections kept open; further threads wait for a free one.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        api_key: Secret | None = None,
        identity: Identity | None = None,
        clientauth: bool = False,
        connect_seconds: float = CONNECT_SECONDS,
        read_seconds: float = READ_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        budget: Budget | None = None,
        connections: int = 1,
    ) -> None:
        self.environment = environment
        self.base_url = environment.clientauth_url if clientauth else environment.api_url
        self._timeout = (connect_seconds, read_seconds)
        self._answer_seconds = answer_seconds
        self._budget = budget
        self._begin(api_key)
        options: dict[str, Any] = {
            "total": RETRIES,
            "read": 1,  # retry a broken connection once only: a refused certificate looks the same
            "other": 0,  # an untrusted server stays untrusted
            "redirect": 0,
            "status_forcelist": (429, 502, 503, 504),
            "allowed_methods": {"GET", "PUT"},
            "backoff_factor": BACKOFF,
            "backoff_jitter": 0.2,
            "raise_on_status": False,
        }
        retries = Patience(**options) if budget is None else BudgetedRetry.within(budget, **options)
        context = make_context(environment.ca_file, identity)
        self._session = _Session()
        # `call` uses the environment's proxies, but not its CA bundle and .netrc
        self._session.trust_env = False
        # a cookie would go along with the next request, which may be another service user's
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        self._session.mount("https://", ContextAdapter(context, retries, connections))
        self._session.mount("http://", _NoPlainHttp())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _begin(self, api_key: Secret | None) -> None:
        self._api_key = api_key
        self.server_clock: datetime | None = None
        """The date of the server's last response (RFC 9110, section 6.6.1)."""
        self.answered = 0.0
        """When that response came, by `time.monotonic`."""
        self.user: User | None = None
        """The service user of the last response."""
        self.connections: list[TlsFacts] = []
        """The TLS facts of all responses, without duplicates."""

    def for_user(self, api_key: Secret) -> Client:
        """A client of another service user over the same connections: a header of each request names the caller.

        It works as long as this client does. Threads may share the connections, each with its own client.
        """
        other = copy(self)
        other._begin(api_key)
        return other

    # --- the API --------------------------------------------------------------------------------------------------

    def me(self) -> User:
        """GET user/me: the service user that the API recognises. Raises RunbookError."""
        self.user = self._read(User, self._expect(self.call("GET", ME), 200))
        return self.user

    def certificates(self, keep: Callable[[Any], Any] = lambda entry: entry) -> Listing:
        """GET client-auth-certificate: all certificates, also expired ones, without PEM.

        Accepts a bare array, `{"items": […]}`, and `{"total", "offset", "limit", "items"}`; follows pages.

        Raises:
            RunbookError: among others UNEXPECTED_ANSWER if the response is not a list. An incomplete list says so.
        """

        def ask(query: str) -> Page:
            answer = self._expect(self.call("GET", CERTIFICATES + query), 200)
            if answer.body is None:
                raise self._unreadable(answer)
            return Page(answer.body, answer.headers)

        return read_all(ask, self.base_url + CERTIFICATES, keep)

    def request_certificate(self, request: CertificateRequest) -> ClientAuthCertificate:
        """POST client-auth-certificate, sent once.

        Raises:
            RunbookError: OUTCOME_UNKNOWN if its response is lost or unreadable: the certificate may have been issued.
        """
        answer = self.call("POST", CERTIFICATES, request)
        if answer.status in (429, 503):
            reason = Reason.RATE_LIMITED if answer.status == 429 else Reason.OUTCOME_UNKNOWN
            raise RunbookError(reason, self._problem(answer).what, retry_after=answer.retry_after)
        if answer.status >= 500 or (200 <= answer.status < 300 and answer.status != 201):
            raise RunbookError(
                Reason.OUTCOME_UNKNOWN, f"The request was answered with HTTP {answer.status} instead of 201."
            )
        self._expect(answer, 201)
        try:
            issued = self._read(ClientAuthCertificate, answer)
        except RunbookError as error:
            raise RunbookError(Reason.OUTCOME_UNKNOWN, f"HTTP 201, but: {error.what}") from None
        if not issued.x509_cert or not issued.id:
            raise RunbookError(Reason.OUTCOME_UNKNOWN, "HTTP 201, but the response has no certificate or no id.")
        try:
            _segment(issued.id)  # otherwise nobody could disable it
        except RunbookError as error:
            raise RunbookError(Reason.OUTCOME_UNKNOWN, f"HTTP 201, but: {error.what}") from None
        return issued

    def set_enabled(self, certificate_id: str, enabled: bool) -> ClientAuthCertificate:
        """PUT client-auth-certificate/{id}/enable.

        Raises:
            RunbookError: UNEXPECTED_ANSWER if the response does not show the requested state.
        """
        path = f"{CERTIFICATES}/{_segment(certificate_id)}/enable"
        changed = self._read(
            ClientAuthCertificate, self._expect(self.call("PUT", path, EnableRequest(enabled=enabled)), 200)
        )
        if changed.enabled is not enabled:
            raise RunbookError(
                Reason.UNEXPECTED_ANSWER, f"Requested enabled = {enabled}, but the response says {changed.enabled}."
            )
        return changed

    def probe(self) -> Probe:
        """GET user/me as a verdict instead of an error, for controls. Never raises RunbookError."""
        return replace(self._probe(), server_clock=self.server_clock)

    def _probe(self) -> Probe:
        try:
            answer = self.call("GET", ME)
        except RunbookError as error:
            refused = error.reason is Reason.CERTIFICATE_REFUSED
            return Probe(Outcome.REFUSED if refused else Outcome.NO_VERDICT, error.what, error=error)
        if answer.status == 200:
            try:
                self.user = self._read(User, answer)
            except RunbookError as error:
                return Probe(Outcome.NO_VERDICT, error.what, 200, tls=answer.tls, error=error)
            return Probe(Outcome.ACCEPTED, "HTTP 200", 200, user=self.user, tls=answer.tls)
        problem = self._problem(answer)
        outcome = Outcome.REFUSED if answer.status in (401, 403) else Outcome.NO_VERDICT
        return Probe(outcome, problem.what, answer.status, tls=answer.tls, error=problem)

    # --- one call -------------------------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: BaseModel | None = None) -> Answer:
        """Send one request and read its complete response, whatever its status.

        Raises:
            RunbookError: UNREACHABLE, TIMED_OUT, TLS_NOT_TRUSTED, CERTIFICATE_REFUSED (a TLS alert); OUTCOME_UNKNOWN
                for a POST that was sent.
        """
        url = self.base_url + path
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
        if self._api_key is not None:
            headers["x-api-key"] = _header(self._api_key)
        proxies = proxies_for(url)
        began = time.monotonic()
        try:
            with (
                self._budget.request() if self._budget is not None else nullcontext(),
                answer_within(self._answer_seconds) as window,
                self._session.request(
                    method,
                    url,
                    data=None if body is None else body.model_dump_json(exclude_none=True),
                    headers=headers | ({} if body is None else {"Content-Type": "application/json"}),
                    timeout=self._timeout,
                    proxies=proxies,
                    allow_redirects=False,  # a redirect would carry the API key to another host
                    stream=True,
                ) as response,
            ):
                # with an https:// proxy, the socket's TLS is that of the proxy
                facts = None if proxies.get("https", "").lower().startswith("https:") else tls_facts(window.tls)
                content = body_of(response.raw)
                received = {name.lower(): value for name, value in response.headers.items()}
                status = response.status_code
        except (requests.RequestException, HTTPError, HTTPException, OSError, LimitReached, ValueError) as error:
            _LOG.debug("%s %s: %s after %.3f s", method, url, type(error).__name__, time.monotonic() - began)
            raise transport_problem(error, method, url) from None
        _LOG.debug("%s %s: HTTP %d after %.3f s", method, url, status, time.monotonic() - began)
        if 300 <= status < 400:
            where = said_by_server(received.get("location", "nowhere"), self._api_key)
            raise RunbookError(
                Reason.UNEXPECTED_ANSWER,
                f"{url} redirects to {where}. The API never redirects; a sign-in page or a proxy does. "
                "The redirect was not followed.",
            )
        text, parsed, malformed = text_of(content, received.get("content-type", "")), None, ""
        try:
            parsed = parse(text)
        except ValueError as error:
            malformed = str(error)
        date = received.get("date", "")
        self.server_clock, self.answered = moment(date), time.monotonic()
        if facts is not None and facts not in self.connections:
            self.connections.append(facts)
        later = seconds(received.get("retry-after", ""), date)
        return Answer(status, parsed, text, facts, later, received, malformed)

    def _problem(self, answer: Answer) -> RunbookError:
        return answer_problem(answer.status, answer.body, answer.text, self.base_url, self._api_key, answer.retry_after)

    def _expect(self, answer: Answer, status: int) -> Answer:
        if answer.status != status:
            raise self._problem(answer)
        return answer

    def _read(self, model: type[_Model], answer: Answer) -> _Model:
        if answer.body is None:
            raise self._unreadable(answer)
        return self._parse(model, answer.body)

    def _unreadable(self, answer: Answer) -> RunbookError:
        return RunbookError(
            Reason.UNEXPECTED_ANSWER,
            f"{self.base_url} answered HTTP {answer.status}, but its body is {answer.malformed or 'null'}.",
        )

    def _parse(self, model: type[_Model], data: Any) -> _Model:
        try:
            if not isinstance(data, Doubled):
                return model.model_validate(data)
            fault = "a field occurs twice"
        except ValidationError as error:
            fault = f"wrong or missing: {wrong_fields(error)}"
        raise RunbookError(
            Reason.UNEXPECTED_ANSWER, f"The response of {self.base_url} is not as documented: {fault}."
        ) from None


def _segment(certificate_id: str) -> str:
    """A certificate's id as one segment of a path. Refuses an id with a slash, which some servers decode from %2F, and
    one of dots alone, which are never encoded. Raises UNEXPECTED_ANSWER."""
    fits = 0 < len(certificate_id) <= 256 and certificate_id.isprintable() and certificate_id.strip(".")
    if not fits or any(char in certificate_id for char in "/\\?#%;"):
        raise RunbookError(
            Reason.UNEXPECTED_ANSWER,
            f"The certificate id {certificate_id[:100]!r} cannot be part of an address. Nothing was sent.",
        )
    return quote(certificate_id, safe="")


def _header(api_key: Secret) -> str:
    """The API key as a header (RFC 9110, section 5.5): visible ASCII only. Raises API_KEY_MALFORMED."""
    key = api_key.reveal()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise RunbookError(
            Reason.API_KEY_MALFORMED,
            f"The API key from {api_key.source} contains a space, a line end or another invalid character.",
        )
    return key


class _Session(requests.Session):
    """A session that ignores redirects: requests would read and unpack the complete body of one, without a limit."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class _NoPlainHttp(requests.adapters.BaseAdapter):
    def send(self, *_: Any, **__: Any) -> requests.Response:
        raise requests.exceptions.InvalidURL("plain http is never used")

    def close(self) -> None:
        pass

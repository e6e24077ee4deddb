"""A typed client of the Account Manager API.

Reading calls and PUT (which says the same thing however often it is said) are retried; a POST is sent once, and when
its answer is lost the outcome counts as unknown.
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
"""Seconds before the first repetition; each further waits twice as long."""
_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer. `body` is the parsed JSON, or None where it is not JSON."""

    status: int
    body: Any
    text: str
    tls: TlsFacts | None
    retry_after: float | None
    """Seconds to wait before another try, as Retry-After says (RFC 9110, section 10.2.3); None where nothing does."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """In lower case."""
    malformed: str = ""
    """Why the body is not JSON, in a few words."""


class Outcome(StrEnum):
    """How a probe ended: was the caller let in?"""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NO_VERDICT = "no verdict"


@dataclass(frozen=True)
class Probe:
    """What one GET user/me showed.

    Args:
        outcome: REFUSED only where the server said so, over HTTP (401, 403) or as a TLS alert; a dead server is
            NO_VERDICT.
        seen: what was seen, in a few words.
        status: the HTTP status, where there was one.
        error: why there was no verdict, or what the refusal said.
        server_clock: what time it was there, where there was an answer.
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
        environment: which.
        api_key: sent as `x-api-key`; None for mTLS alone and for controls.
        identity: the client certificate; None for an API key alone and for controls.
        clientauth: talk to the host for mTLS.
        connect_seconds, read_seconds: how long to wait for a connection, and for each part of an answer.
        answer_seconds: how long one whole answer may take.
        budget: how many requests the host is sent at most, where many are.
        connections: how many are kept open at most; more threads than that wait for one another.
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
            "read": 1,  # a broken connection is tried once more; a certificate that is refused looks like one
            "other": 0,  # nor does a server that is not trusted become so
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
        # The environment's proxies are wanted (see `call`), its CA bundle and its .netrc are not.
        self._session.trust_env = False
        # A cookie would go with the next request, which may be another service user's.
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
        """What time the server's last answer was dated (RFC 9110, section 6.6.1)."""
        self.answered = 0.0
        """When that answer came, by `time.monotonic`."""
        self.user: User | None = None
        """Who the API last said we are."""
        self.connections: list[TlsFacts] = []
        """The TLS facts of all answers, each once."""

    def for_user(self, api_key: Secret) -> Client:
        """Another service user over the same connections: who is calling is told by a header of each request.

        It lives as long as this client does. Threads may share the connections, each with a client of its own.
        """
        other = copy(self)
        other._begin(api_key)
        return other

    # --- the API --------------------------------------------------------------------------------------------------

    def me(self) -> User:
        """GET user/me: who the API says we are. Raises RunbookError."""
        self.user = self._read(User, self._expect(self.call("GET", ME), 200))
        return self.user

    def certificates(self, keep: Callable[[Any], Any] = lambda entry: entry) -> Listing:
        """GET client-auth-certificate: all of them, expired ones too; PEM is never among it.

        Takes a bare array, `{"items": […]}`, and `{"total", "offset", "limit", "items"}`; follows pages.

        Raises:
            RunbookError: among others UNEXPECTED_ANSWER where there is no list. One that may not be whole says so.
        """

        def ask(query: str) -> Page:
            answer = self._expect(self.call("GET", CERTIFICATES + query), 200)
            if answer.body is None:
                raise self._unreadable(answer)
            return Page(answer.body, answer.headers)

        return read_all(ask, self.base_url + CERTIFICATES, keep)

    def request_certificate(self, request: CertificateRequest) -> ClientAuthCertificate:
        """POST client-auth-certificate. Sent once.

        Raises:
            RunbookError: OUTCOME_UNKNOWN where it was sent and its answer lost or unreadable: it may have been done.
        """
        answer = self.call("POST", CERTIFICATES, request)
        if answer.status in (429, 503):
            reason = Reason.RATE_LIMITED if answer.status == 429 else Reason.OUTCOME_UNKNOWN
            raise RunbookError(reason, self._problem(answer).what, retry_after=answer.retry_after)
        if answer.status >= 500 or (200 <= answer.status < 300 and answer.status != 201):
            raise RunbookError(
                Reason.OUTCOME_UNKNOWN, f"The request was answered with HTTP {answer.status}, not with 201."
            )
        self._expect(answer, 201)
        try:
            issued = self._read(ClientAuthCertificate, answer)
        except RunbookError as error:
            raise RunbookError(Reason.OUTCOME_UNKNOWN, f"HTTP 201, but: {error.what}") from None
        if not issued.x509_cert or not issued.id:
            raise RunbookError(Reason.OUTCOME_UNKNOWN, "HTTP 201, but the answer holds no certificate or no id.")
        try:
            _segment(issued.id)  # else nobody could disable it
        except RunbookError as error:
            raise RunbookError(Reason.OUTCOME_UNKNOWN, f"HTTP 201, but: {error.what}") from None
        return issued

    def set_enabled(self, certificate_id: str, enabled: bool) -> ClientAuthCertificate:
        """PUT client-auth-certificate/{id}/enable.

        Raises:
            RunbookError: UNEXPECTED_ANSWER where the answer does not show the state that was asked for.
        """
        path = f"{CERTIFICATES}/{_segment(certificate_id)}/enable"
        changed = self._read(
            ClientAuthCertificate, self._expect(self.call("PUT", path, EnableRequest(enabled=enabled)), 200)
        )
        if changed.enabled is not enabled:
            raise RunbookError(
                Reason.UNEXPECTED_ANSWER, f"Asked for enabled = {enabled}, and the answer says {changed.enabled}."
            )
        return changed

    def probe(self) -> Probe:
        """GET user/me, told as a verdict in place of an error: what a control needs. Never raises RunbookError."""
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
        """Send one request and read its whole answer, whatever its status.

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
                # behind a proxy that speaks TLS itself, that TLS is the proxy's
                facts = None if proxies.get("https", "").lower().startswith("https:") else tls_facts(window.tls)
                content = body_of(response.raw)
                said = {name.lower(): value for name, value in response.headers.items()}
                status = response.status_code
        except (requests.RequestException, HTTPError, HTTPException, OSError, LimitReached, ValueError) as error:
            _LOG.debug("%s %s: %s after %.3f s", method, url, type(error).__name__, time.monotonic() - began)
            raise transport_problem(error, method, url) from None
        _LOG.debug("%s %s: HTTP %d after %.3f s", method, url, status, time.monotonic() - began)
        if 300 <= status < 400:
            where = said_by_server(said.get("location", "nowhere"), self._api_key)
            raise RunbookError(
                Reason.UNEXPECTED_ANSWER,
                f"{url} redirects to {where}: the API does not; a sign-in page or a proxy does. It was not followed.",
            )
        text, parsed, malformed = text_of(content, said.get("content-type", "")), None, ""
        try:
            parsed = parse(text)
        except ValueError as error:
            malformed = str(error)
        date = said.get("date", "")
        self.server_clock, self.answered = moment(date), time.monotonic()
        if facts is not None and facts not in self.connections:
            self.connections.append(facts)
        later = seconds(said.get("retry-after", ""), date)
        return Answer(status, parsed, text, facts, later, said, malformed)

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
            f"HTTP {answer.status} from {self.base_url}, and the body is {answer.malformed or 'null'}.",
        )

    def _parse(self, model: type[_Model], data: Any) -> _Model:
        try:
            if not isinstance(data, Doubled):
                return model.model_validate(data)
            fields = "a field is there twice"
        except ValidationError as error:
            fields = wrong_fields(error)
        raise RunbookError(
            Reason.UNEXPECTED_ANSWER, f"The answer of {self.base_url} is not as documented: {fields}."
        ) from None


def _segment(certificate_id: str) -> str:
    """A certificate's id as one part of a path. Some servers read %2F as a slash, and `..` is never encoded: an id with
    either is refused. Raises UNEXPECTED_ANSWER."""
    fits = 0 < len(certificate_id) <= 256 and certificate_id.isprintable() and certificate_id.strip(".")
    if not fits or any(char in certificate_id for char in "/\\?#%;"):
        raise RunbookError(
            Reason.UNEXPECTED_ANSWER,
            f"The certificate's id {certificate_id[:100]!r} cannot be part of an address; nothing was sent.",
        )
    return quote(certificate_id, safe="")


def _header(api_key: Secret) -> str:
    """What a header can carry (RFC 9110, section 5.5): a key has only visible ASCII. Raises API_KEY_MALFORMED."""
    key = api_key.reveal()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise RunbookError(
            Reason.API_KEY_MALFORMED,
            f"What {api_key.source} holds has a space, a line end or another character in it that no API key has.",
        )
    return key


class _Session(requests.Session):
    """One that sees no redirect: requests would read the body of one whole, unpacked, before it leaves it."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class _NoPlainHttp(requests.adapters.BaseAdapter):
    def send(self, *_: Any, **__: Any) -> requests.Response:
        raise requests.exceptions.InvalidURL("plain http is never used")

    def close(self) -> None:
        pass

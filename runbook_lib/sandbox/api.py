"""The Account Manager's API as in the tutorial, for both hosts.

The API host identifies its caller by the header `x-api-key`, the clientauth host by the client certificate of the TLS
connection. Fields, statuses and error bodies are the tutorial's.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeGuard

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from pydantic import ValidationError

from runbook_lib.clock import Clock, iso, parse_utc
from runbook_lib.digicert.models import CertificateRequest, EnableRequest
from runbook_lib.rules import MAX_LIFETIME
from runbook_lib.sandbox.ca import Authority, certificate_pem
from runbook_lib.sandbox.faults import Fault, FaultPlan, Faults, Rule
from runbook_lib.sandbox.odd_answers import NO_ANSWER, Dropped, http_date, instead, lower_case_serials
from runbook_lib.sandbox.signing_request import BadCsr, Csr, public_key_base64, read_csr
from runbook_lib.sandbox.state import IssuedCertificate, RequestEntry, SandboxStore, SeededUser, ended
from runbook_lib.sandbox.user_me import user_me

Listener = Literal["api", "clientauth"]

CERTIFICATES = "/account/api/v1/client-auth-certificate"
USER_ME = "/account/api/v1/user/me"

_ENTRY = "journal entry"
_PLAN = "faults"
_SKEW = "clock skew"


@dataclass
class Refusal(Exception):
    """Ends a request with DigiCert ONE's error body."""

    status: int
    code: str
    message: str

    def response(self) -> web.Response:
        return web.json_response({"errors": [{"code": self.code, "message": self.message}]}, status=self.status)


def _not_authenticated() -> Refusal:
    # the tutorial's only wording, whatever is wrong: there too, the status alone tells nothing
    return Refusal(403, "AUTHORIZATION_ERROR", "No authentication data provided")


def _no_access() -> Refusal:
    return Refusal(403, "no_access", "Not enough permissions")


def _invalid() -> Refusal:
    return Refusal(400, "invalid_input_field", "Wrong input or input format")


def _duplicate() -> Refusal:
    return Refusal(400, "duplicate_error", "Cannot have duplicate names for client authentication certificate")


def _not_found() -> Refusal:
    return Refusal(404, "not_found", "Not found")


class AccountManager:
    """Answers the API's requests from the store.

    Args:
        clock: the sandbox's time, for every date rule and the `Date` header.
        faults: the faults to apply.
    """

    def __init__(self, store: SandboxStore, authority: Authority, clock: Clock, faults: Faults) -> None:
        self._store = store
        self._authority = authority
        self._clock = clock
        self._faults = faults

    def application(self, listener: Listener) -> web.Application:
        """The routes for one host."""
        app = web.Application(middlewares=[self._gate(listener)])
        identify = self._by_key if listener == "api" else self._by_certificate
        for method, path, handler in (
            ("GET", USER_ME, self._user_me),
            ("GET", CERTIFICATES, self._list),
            ("POST", CERTIFICATES, self._request),
            ("PUT", CERTIFICATES + "/{id}/enable", self._enable),
        ):
            app.router.add_route(method, path, _authenticated(identify, handler))
        return app

    def _gate(self, listener: Listener) -> Middleware:
        """The middleware of a listener: journals every request and applies its faults."""

        @web.middleware
        async def gate(request: web.Request, handler: Handler) -> web.StreamResponse:
            entry = RequestEntry(iso(self._clock.now()), listener, request.method, request.path)
            request[_ENTRY] = entry
            request[_PLAN] = FaultPlan()
            through = self._through_faults(handler) if self._faults.on else handler
            try:
                response = await _answer(request, through)
                response.headers["Date"] = http_date(self._now(request))
                entry.status = NO_ANSWER if isinstance(response, Dropped) else response.status
                return response
            except asyncio.CancelledError:  # stopped in the middle of a delay
                entry.status = NO_ANSWER
                raise
            finally:
                self._store.add_request(entry)

        return gate

    def _through_faults(self, handler: Handler) -> Handler:
        async def through(request: web.Request) -> web.StreamResponse:
            entry, name = request[_ENTRY], await self._certificate_name(request)
            request[_PLAN] = plan = self._faults.plan(request.method, request.path, name, entry.faults)
            entry.certificate_name = name and name[:300]
            if skew := plan.take("clock_skew"):
                request[_SKEW] = timedelta(seconds=skew.seconds or 0)
            if delay := plan.take("delay_before"):
                await asyncio.sleep(delay.seconds or 0)
            answer = None
            if plan.ending is None or plan.ending.carries_out:
                answer = await _answer(request, handler)
                if _has_serials(answer) and plan.take("lower_case_serial"):
                    answer = lower_case_serials(answer)
            if delay := plan.take("delay_after"):
                await asyncio.sleep(delay.seconds or 0)
            if plan.ending is not None and plan.take(plan.ending.fault):
                return instead(plan.ending, answer, self._now(request))
            assert answer is not None  # noqa: S101  (no fault replaced it)
            return answer

        return through

    async def _certificate_name(self, request: web.Request) -> str | None:
        """The name to match with a rule's `name`."""
        if request.method == "POST":
            try:
                name = (await _json_object(request)).get("name")
            except Refusal:
                return None
            return name if isinstance(name, str) else None
        known = None
        if "id" in request.match_info:
            known = self._store.certificate(request.match_info["id"])
        elif presented := _presented(request):
            known = self._store.certificate_by_serial(f"{presented.serial_number:X}")
        return known.name if known else None

    def _now(self, request: web.Request) -> datetime:
        skew: timedelta = request.get(_SKEW, timedelta())
        return self._clock.now() + skew

    # who is asking

    def _by_key(self, request: web.Request) -> SeededUser:
        key = request.headers.get("x-api-key", "")
        # bytes that are not text arrive as halves of surrogate pairs, which no database takes
        return self._active(request, self._store.user_by_key(key) if key.isascii() else None)

    def _by_certificate(self, request: web.Request) -> SeededUser:
        presented = _presented(request)
        if presented is None:
            raise _not_authenticated()
        serial = f"{presented.serial_number:X}"
        request[_ENTRY].certificate_serial = serial
        known = self._store.certificate_by_serial(serial)
        request[_ENTRY].certificate_name = known.name if known else None
        if (
            known is None
            or known.public_key != public_key_base64(presented.public_key())
            or not self._is_enabled(request, known)
            or not _for_client_auth(presented)
            or self._now(request) < presented.not_valid_before_utc
            or ended(known.end_date, self._now(request))
        ):
            raise _not_authenticated()
        user = self._active(request, self._store.user(known.user_id))
        # mTLS requires no API key, but a key that is sent must be right
        if "x-api-key" in request.headers and self._by_key(request) != user:
            raise _not_authenticated()
        return user

    def _is_enabled(self, request: web.Request, known: IssuedCertificate) -> bool:
        enabled = self._faults.is_enabled(known.id, known.enabled)
        if enabled is not known.enabled:
            request[_ENTRY].faults.append("slow_enable")
        return enabled

    def _active(self, request: web.Request, user: SeededUser | None) -> SeededUser:
        if user is None:
            raise _not_authenticated()
        request[_ENTRY].user_id = user.id
        if user.status != "ACTIVE" or ended(user.end_date, self._now(request)):
            raise _not_authenticated()
        return user

    # the requests

    async def _user_me(self, request: web.Request, caller: SeededUser) -> web.Response:
        return web.json_response(user_me(caller))

    async def _list(self, request: web.Request, caller: SeededUser) -> web.Response:
        """Every certificate of the account, expired and disabled ones too, as a bare array."""
        _demand_management(caller)
        listed = []
        for known in self._store.certificates(caller.account_id):
            if known.user_id != caller.id or self._faults.is_listed(known.id):
                listed.append(_as_json(known))
            elif "late_in_list" not in request[_ENTRY].faults:
                request[_ENTRY].faults.append("late_in_list")
        if _take(request, "shuffled_list"):
            self._faults.shuffle(listed)
        return web.json_response(listed)

    async def _request(self, request: web.Request, caller: SeededUser) -> web.Response:
        body = await _json_object(request)
        name = body.get("name")
        request[_ENTRY].certificate_name = name[:300] if isinstance(name, str) else None
        _demand_management(caller)
        asked, csr = _read_request(body)
        if self._store.has_name(caller.account_id, asked.name):
            raise _duplicate()
        start, end = self._validity(asked.expiration_date, caller, self._now(request))
        if _take(request, "too_long"):
            end = start + MAX_LIFETIME + timedelta(days=1)
        certificate = self._authority.issue_client(
            csr.subject,
            ec.generate_private_key(ec.SECP256R1()).public_key() if _take(request, "other_key") else csr.key,
            start=start,
            end=end,
            usage=ExtendedKeyUsageOID.SERVER_AUTH if _take(request, "wrong_eku") else ExtendedKeyUsageOID.CLIENT_AUTH,
            odd_serial=_take(request, "odd_serial") is not None,
        )
        issued = IssuedCertificate(
            id=str(uuid.uuid4()),
            account_id=caller.account_id,
            user_id=caller.id,
            name=asked.name,
            common_name=csr.common_name,
            start_date=iso(start),
            end_date=iso(end),
            enabled=True,
            serial_number=f"{certificate.serial_number:X}",
            public_key=public_key_base64(certificate.public_key()),
        )
        self._store.add_certificates([issued])
        request[_ENTRY].effect = True
        if late := _take(request, "late_in_list"):
            self._faults.list_late(issued.id, late.lag or 0)
        answer = _as_json(
            issued, x509_cert=certificate_pem(certificate), ca_cert=certificate_pem(self._authority.intermediate)
        )
        if _take(request, "no_ca_cert"):
            del answer["ca_cert"]
        return web.json_response(answer, status=201)

    async def _enable(self, request: web.Request, caller: SeededUser) -> web.Response:
        _demand_management(caller)
        try:
            asked = EnableRequest.model_validate(await _json_object(request))
        except ValidationError:
            raise _invalid() from None
        known = self._store.certificate(request.match_info["id"])
        if known is None or known.account_id != caller.account_id:
            raise _not_found()
        changed = self._store.enable_certificate(known.id, enabled=asked.enabled)
        entry = request[_ENTRY]
        entry.certificate_name, entry.enabled, entry.effect = known.name, asked.enabled, True
        if known.enabled is not asked.enabled and (slow := _take(request, "slow_enable")):
            self._faults.enable_late(known.id, known.enabled, slow.lag or 0)
        return web.json_response(_as_json(changed))

    @staticmethod
    def _validity(asked: datetime | None, caller: SeededUser, now: datetime) -> tuple[datetime, datetime]:
        """Start and end of a new certificate: at most 397 days, never past the service user's own end."""
        now = now.replace(microsecond=0)
        today = now.replace(hour=0, minute=0, second=0)
        last = parse_utc(caller.end_date) if caller.end_date else datetime.max.replace(tzinfo=now.tzinfo)
        end = asked or min(today + MAX_LIFETIME - timedelta(seconds=1), last)
        if not now < end <= min(now + MAX_LIFETIME, last):
            raise _invalid()
        # the samples start at midnight; with the latest possible end, that would be more than 397 days
        return max(today, end - MAX_LIFETIME), end


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        return refusal.response()
    except web.HTTPException as error:  # aiohttp's own: no such path, method or size
        return Refusal(error.status, error.reason.lower().replace(" ", "_"), error.reason).response()


def _authenticated(
    identify: Callable[[web.Request], SeededUser],
    handler: Callable[[web.Request, SeededUser], Awaitable[web.Response]],
) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request, identify(request))

    return handle


def _take(request: web.Request, fault: Fault) -> Rule | None:
    """The rule of this fault if it applies to the request; counts as applied from now on."""
    plan: FaultPlan = request[_PLAN]
    return plan.take(fault)


def _presented(request: web.Request) -> x509.Certificate | None:
    """The client certificate of the TLS connection."""
    tls = request.get_extra_info("ssl_object")
    der = tls.getpeercert(True) if isinstance(tls, ssl.SSLObject) else None
    return x509.load_der_x509_certificate(der) if der else None


def _has_serials(answer: web.StreamResponse) -> TypeGuard[web.Response]:
    return isinstance(answer, web.Response) and isinstance(answer.body, bytes) and b'"serial_number"' in answer.body


def _demand_management(caller: SeededUser) -> None:
    if not caller.may_manage:
        raise _no_access()


def _for_client_auth(certificate: x509.Certificate) -> bool:
    """Whether a certificate has clientAuth. OpenSSL also accepts one without extended key usage, DigiCert ONE not."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CLIENT_AUTH in usage


async def _json_object(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read())
        json.dumps(body, ensure_ascii=False).encode()  # no database takes half a surrogate pair
    except (ValueError, RecursionError):
        raise _invalid() from None
    if not isinstance(body, dict):
        raise _invalid()
    return body


def _read_request(body: dict[str, Any]) -> tuple[CertificateRequest, Csr]:
    # pydantic would read a number as seconds since 1970
    if not isinstance(body.get("expiration_date"), str | None):
        raise _invalid()
    try:
        asked = CertificateRequest.model_validate(body)
        return asked, read_csr(asked.csr)
    except (ValidationError, BadCsr):
        raise _invalid() from None


def _as_json(known: IssuedCertificate, *, x509_cert: str | None = None, ca_cert: str | None = None) -> dict[str, Any]:
    """A certificate in the order of the tutorial's samples. Only the response to the POST has the PEMs."""
    pems = {"x509_cert": x509_cert, "ca_cert": ca_cert} if x509_cert else {}
    return {
        "id": known.id,
        "user_id": known.user_id,
        "name": known.name,
        "common_name": known.common_name,
        **pems,
        "end_date": known.end_date,
        "start_date": known.start_date,
        "enabled": known.enabled,
        "serial_number": known.serial_number,
        "public_key": known.public_key,
    }

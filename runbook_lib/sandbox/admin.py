"""The admin listener: plain HTTP on loopback, JSON, a bearer token. It shows the sandbox's state and sets its clock.

GET /health · GET and POST /users · GET /certificates[?account_id=…] · GET /requests[?after=NUMBER] ·
GET and PUT /clock · GET, PUT and DELETE /faults
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from runbook_lib.clock import iso, parse_utc
from runbook_lib.errors import RunbookError
from runbook_lib.sandbox.faults import Faults, read_rules
from runbook_lib.sandbox.seed import add_ordinary
from runbook_lib.sandbox.state import SandboxClock, SandboxStore


def admin_application(
    store: SandboxStore, clock: SandboxClock, faults: Faults, token: str, faults_changed: Callable[[], None]
) -> web.Application:
    """The admin listener's routes. Requests must carry `token` as `Authorization: Bearer`.

    `faults_changed` is called before a change of the faults is answered.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), f"Bearer {token}".encode()):
            return web.json_response({"error": "The admin token is missing or wrong."}, status=401)
        return await handler(request)

    def clock_json() -> dict[str, Any]:
        return {"now": iso(clock.now()), "offset_seconds": clock.offset_seconds}

    async def health(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", **clock_json()})

    async def users(request: web.Request) -> web.Response:
        return web.json_response([asdict(user) for user in store.users()])

    async def add_user(request: web.Request) -> web.Response:
        """Add an ordinary service user in an account of its own, which is as good as a new sandbox, and faster."""
        return web.json_response(asdict(add_ordinary(store, clock.now())), status=201)

    async def certificates(request: web.Request) -> web.Response:
        account = request.query.get("account_id")
        return web.json_response([asdict(certificate) for certificate in store.certificates(account)])

    async def requests(request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not (after.isascii() and after.isdigit()):
            return web.json_response({"error": "`after` must be the number of a request."}, status=400)
        return web.json_response(store.requests(after=int(after[:18])))

    async def get_clock(request: web.Request) -> web.Response:
        return web.json_response(clock_json())

    async def put_clock(request: web.Request) -> web.Response:
        try:
            match json.loads(await request.read()):
                case {"now": str(now), **rest} if not rest:
                    clock.set_now(parse_utc(now))
                case {"offset_seconds": int() | float() as seconds, **rest} if not rest:
                    clock.set_offset(seconds)
                case _:
                    raise ValueError
        except (ValueError, OverflowError):
            hint = 'Send {"now": "YYYY-MM-DDTHH:MM:SSZ"} or {"offset_seconds": n}.'
            return web.json_response({"error": hint}, status=400)
        return web.json_response(clock_json())

    async def get_faults(request: web.Request) -> web.Response:
        return web.json_response(faults.as_json())

    async def put_faults(request: web.Request) -> web.Response:
        try:
            match json.loads(await request.read()):
                case {"rules": rules, "seed": int() | None as seed, **rest} if not rest and not isinstance(seed, bool):
                    faults.set(read_rules(rules), seed)
                case {"rules": rules, **rest} if not rest:
                    faults.set(read_rules(rules))
                case _:
                    raise ValueError
        except RunbookError as error:
            return web.json_response({"error": error.what}, status=400)
        except (ValueError, RecursionError):
            return web.json_response({"error": 'Send {"seed": n, "rules": [...]}. The seed is optional.'}, status=400)
        faults_changed()
        return await get_faults(request)

    async def delete_faults(request: web.Request) -> web.Response:
        faults.clear()
        faults_changed()
        return await get_faults(request)

    app = web.Application(middlewares=[guard])
    app.router.add_get("/health", health)
    app.router.add_get("/users", users)
    app.router.add_post("/users", add_user)
    app.router.add_get("/certificates", certificates)
    app.router.add_get("/requests", requests)
    app.router.add_get("/clock", get_clock)
    app.router.add_put("/clock", put_clock)
    app.router.add_get("/faults", get_faults)
    app.router.add_put("/faults", put_faults)
    app.router.add_delete("/faults", delete_faults)
    return app

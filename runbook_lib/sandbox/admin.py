"""The admin listener: plain HTTP on loopback, JSON, a bearer token. It looks behind the API and sets the clock.

GET /health · GET /users · GET /certificates · GET /requests · GET and PUT /clock
"""

from __future__ import annotations

import hmac
import json
from dataclasses import asdict
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from runbook_lib.clock import iso, parse_utc
from runbook_lib.sandbox.state import SandboxClock, Store


def admin_application(store: Store, clock: SandboxClock, token: str) -> web.Application:
    """The admin listener's routes. `token` is what `Authorization: Bearer` has to carry."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            return web.json_response({"error": "The admin token is missing or wrong."}, status=401)
        return await handler(request)

    def clock_json() -> dict[str, Any]:
        return {"now": iso(clock.now()), "offset_seconds": clock.offset_seconds}

    async def health(request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", **clock_json()})

    async def users(request: web.Request) -> web.Response:
        return web.json_response([asdict(user) for user in store.users()])

    async def certificates(request: web.Request) -> web.Response:
        return web.json_response([asdict(certificate) for certificate in store.certificates()])

    async def requests(request: web.Request) -> web.Response:
        return web.json_response(store.requests())

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

    app = web.Application(middlewares=[guard])
    app.router.add_get("/health", health)
    app.router.add_get("/users", users)
    app.router.add_get("/certificates", certificates)
    app.router.add_get("/requests", requests)
    app.router.add_get("/clock", get_clock)
    app.router.add_put("/clock", put_clock)
    return app

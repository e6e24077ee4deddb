"""What every room's tests share: a running sandbox, and what `make soak` alone runs."""

from __future__ import annotations

import json
import shlex
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runbook_lib import looks
from runbook_lib.sandbox import start, stop
from tests.soak import SOAK

pytest_plugins = ["tests.notebook_runs", "tests.skipping"]


@pytest.fixture(autouse=True)
def nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command knows the secrets that it has resolved itself, and no other test's."""
    monkeypatch.setattr(looks, "_KNOWN", set())


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox and how to reach it."""

    state: Path
    env: dict[str, str]

    @property
    def url(self) -> str:
        return self.env["DIGICERT_ONE_URL"]

    @property
    def clientauth_url(self) -> str:
        return self.env["DIGICERT_ONE_CLIENTAUTH_URL"]

    @property
    def ca_file(self) -> Path:
        return Path(self.env["DIGICERT_ONE_CA_FILE"])

    @property
    def api_key(self) -> str:
        """Of the ordinary service user."""
        return self.env["DIGICERT_ONE_API_KEY"]

    def admin(self, method: str, path: str, body: Any = None) -> Any:
        """Ask the admin listener: `admin("PUT", "/clock", {"offset_seconds": 3600})`. Raises HTTPError for 4xx."""
        request = urllib.request.Request(  # noqa: S310 - a loopback http address of our own
            self.env["DIGICERT_ONE_ADMIN_URL"] + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.env['DIGICERT_ONE_ADMIN_TOKEN']}"},
            method=method,
        )
        # never through a proxy that the environment names
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as response:
            return json.load(response)

    def users(self) -> dict[str, dict[str, Any]]:
        """The seeded service users by role: ordinary, second, no_permission, expired, disabled, ends_soon,
        other_account. Each has api_key, id, account_id, end_date."""
        return {
            user["role"]: user for user in self.admin("GET", "/users") if user["role"] not in ("populated", "added")
        }


def read_env(path: Path) -> dict[str, str]:
    """A `sandbox.env`, read as a shell reads it."""
    pairs = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One sandbox for all tests. Use names of your own, and leave its clock alone."""
    state = tmp_path_factory.mktemp("sandbox") / "state"
    yield Sandbox(state, read_env(start(state)))
    stop(state)


@pytest.fixture
def fresh_sandbox(tmp_path: Path) -> Iterator[Callable[..., Sandbox]]:
    """A factory of sandboxes for one test: `fresh_sandbox(clientauth_trusts="root")`; options are `start`'s."""
    states: list[Path] = []

    def make(**options: Any) -> Sandbox:
        state = tmp_path / f"sandbox {len(states)}"
        states.append(state)
        return Sandbox(state, read_env(start(state, **options)))

    yield make
    for state in states:
        stop(state)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not SOAK:
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("soak")])
        items[:] = [item for item in items if not item.get_closest_marker("soak")]

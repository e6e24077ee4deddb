"""A session: one DigiCert ONE, one store, the secrets, the clock, and clients whose calls are recorded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar

from runbook_lib import given
from runbook_lib.clock import Clock
from runbook_lib.credentials.generation import Generation
from runbook_lib.credentials.store import Credential, Store
from runbook_lib.digicert.client import Client
from runbook_lib.digicert.environments import Environment
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.identity import Identity
from runbook_lib.lifecycle.provenance import seen_by
from runbook_lib.result import Seen
from runbook_lib.secrets import Prompt, Secret, resolve

LOOKS = 3
"""How often a list is read before a certificate counts as absent: a list may lag behind a request."""

T = TypeVar("T")


class SessionParameters(Protocol):
    """The parameters that a session reads, besides those that name its secrets."""

    @property
    def store(self) -> str: ...

    def make_environment(self, environ: Mapping[str, str]) -> Environment: ...


@dataclass(eq=False, repr=False)
class Session:
    """What all work on certificates needs. Everything is opened, resolved and called on first use.

    Args:
        parameters: name the environment, the store and the secrets.
        environ: the environment variables.
        prompt: asks the person at the notebook for a secret; None if nobody is there.
        pause: waits a number of seconds; tests replace it.
        seen: what each client saw, in order.
    """

    parameters: SessionParameters
    environ: Mapping[str, str]
    clock: Clock
    prompt: Prompt | None = None
    pause: Callable[[float], None] = time.sleep
    seen: list[Seen] = field(default_factory=list)
    _secrets: dict[str, Secret] = field(default_factory=dict, init=False)

    def secret(self, parameter: str) -> Secret:
        """The secret that a parameter names, fetched once."""
        if parameter not in self._secrets:
            reference = getattr(self.parameters, parameter)
            self._secrets[parameter] = resolve(reference, environ=self.environ, prompt=self.prompt)
        return self._secrets[parameter]

    @cached_property
    def environment(self) -> Environment:
        """The DigiCert ONE that the parameters name."""
        return self.parameters.make_environment(self.environ)

    @cached_property
    def store(self) -> Store:
        """The store that the parameters name."""
        named = self.parameters.store
        return Store(given.path(named)) if named else Store.default(self.environ)

    def credential(self, name: str) -> Credential:
        """The credential of that name in the store; it need not be on disk yet."""
        return self.store.credential(self.environment.name, name)

    def in_use(self, name: str) -> Generation:
        """The generation of a credential that is in use. Raises RunbookError (NO_CREDENTIAL, WRONG_ENVIRONMENT)."""
        generation = self.credential(name).current()
        if generation is None:
            raise RunbookError(Reason.NO_CREDENTIAL, f"{self.store.root} has no certificate in use for “{name}”.")
        self.check_environment(generation)
        return generation

    def check_environment(self, generation: Generation) -> None:
        """Refuse a generation that another host issued. Raises RunbookError (WRONG_ENVIRONMENT)."""
        meta, url = generation.meta, self.environment.api_url
        if meta.api_url != url:
            raise RunbookError(
                Reason.WRONG_ENVIRONMENT,
                f"“{meta.name}” was issued on {meta.api_url}, but the chosen environment is {url}.",
            )

    @contextmanager
    def client(
        self, *, api_key: Secret | None = None, identity: Identity | None = None, clientauth: bool = False
    ) -> Iterator[Client]:
        """A `Client` of the environment; `seen` records what its calls saw."""
        with Client(self.environment, api_key=api_key, identity=identity, clientauth=clientauth) as client:
            try:
                yield client
            finally:
                self.seen.append(seen_by(client, self.clock))

    def api(self) -> AbstractContextManager[Client]:
        """A client that authenticates with the API key."""
        return self.client(api_key=self.secret("api_key"))

    def mtls(self, identity: Identity | None) -> AbstractContextManager[Client]:
        """A client of the clientauth host that authenticates with a certificate, or without one for a control."""
        return self.client(identity=identity, clientauth=True)

    def poll(self, look: Callable[[], T | None]) -> T | None:
        """What `look` finds in a list that may lag, after up to `LOOKS` tries; None if it finds nothing."""
        for number in range(LOOKS):
            if number:
                self.pause(0.5 * 2**number)
            if found := look():
                return found
        return None

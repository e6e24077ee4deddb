"""Asks DigiCert ONE about many service users at once: whom each API key belongs to, and which certificates it sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from threading import Lock
from typing import Any

from runbook_lib.clock import iso
from runbook_lib.digicert.budget import Budget
from runbook_lib.digicert.client import Client
from runbook_lib.digicert.environments import Environment
from runbook_lib.digicert.listing import CERTIFICATES_MAX, Malformed
from runbook_lib.digicert.models import ClientAuthCertificate, User
from runbook_lib.digicert.tls import TlsFacts
from runbook_lib.digicert.wire import one_large_answer
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.inventories.health import Health
from runbook_lib.inventories.schemas import ANSWERED
from runbook_lib.lifecycle.provenance import connection
from runbook_lib.result import Connection
from runbook_lib.secrets import Prompt, resolve

ENTRIES_MAX = 2_000_000
"""How many entries all lists of a run may have together, counting an entry once for each list that holds it."""


@dataclass(frozen=True)
class ApiKeyOwner:
    """A service user to ask.

    Args:
        name: what to call it if DigiCert ONE gives no name.
        api_key: the reference to its API key.
    """

    name: str
    environment: Environment
    api_key: str


@dataclass(frozen=True)
class OwnerAnswer:
    """What DigiCert ONE returned for a service user's API key.

    Args:
        user, listed: who it is, and every certificate it sees; None if asking failed before that.
        problem: why asking failed, or why the list may be incomplete; None if everything was answered.
        malformed: entries of the list that cannot be read.
        server_clock: the server's time.
        connections: the TLS facts of the responses.
    """

    account: ApiKeyOwner
    user: User | None
    listed: tuple[ClientAuthCertificate, ...] | None
    problem: RunbookError | None
    server_clock: datetime | None = None
    connections: tuple[TlsFacts, ...] = ()
    malformed: tuple[Malformed, ...] = ()


class _Kept:
    """The entries of many lists, each in memory once, and no more of them than one list may hold."""

    def __init__(self, already: int) -> None:
        self._left = CERTIFICATES_MAX - already
        self._kept: dict[Any, Any] = {}
        self._entries = 0
        self._lock = Lock()

    def keep(self, entry: Any) -> Any:
        """An entry, or its equal that is kept already. Raises RunbookError (LIST_NOT_WHOLE) if there are too many."""
        with self._lock:
            kept = self._kept.get(entry)
            if self._entries >= ENTRIES_MAX or (kept is None and len(self._kept) >= self._left):
                raise RunbookError(
                    Reason.LIST_NOT_WHOLE,
                    f"the service users of this run list more than {CERTIFICATES_MAX:,} certificates together",
                )
            self._entries += 1
            return kept if kept is not None else self._kept.setdefault(entry, entry)


def ask_all(
    accounts: Sequence[ApiKeyOwner],
    *,
    already: int = 0,
    per_second: int,
    connections: int,
    environ: Mapping[str, str] | None = None,
    prompt: Prompt | None = None,
) -> list[OwnerAnswer]:
    """Ask DigiCert ONE about many service users, each with its own API key.

    Args:
        already: how many certificates the run holds already.
        per_second: the most requests a host gets in a second, repetitions included.
        connections: to each host, kept open and used by one service user after the other.
        environ, prompt: resolve the references.

    Returns:
        one answer for each account, in their order. A failed account says why; it raises nothing.
    """
    by_host: dict[Environment, list[int]] = {}
    for number, account in enumerate(accounts):
        by_host.setdefault(account.environment, []).append(number)
    budgets = {environment.api_url: Budget(per_second) for environment in by_host}
    answers: dict[int, OwnerAnswer] = {}
    kept = _Kept(already)
    with ExitStack() as stack:
        waiting = []
        for environment, numbers in by_host.items():
            try:
                budget = budgets[environment.api_url]
                host = stack.enter_context(Client(environment, budget=budget, connections=connections))
            except RunbookError as error:  # its CA file cannot be read
                answers |= {number: OwnerAnswer(accounts[number], None, None, error) for number in numbers}
                continue
            pool = ThreadPoolExecutor(connections)
            stack.callback(pool.shutdown, cancel_futures=True)  # an interrupted run stops asking
            waiting += [
                (number, pool.submit(_ask, host, accounts[number], kept, environ, prompt)) for number in numbers
            ]
        answers |= {number: future.result() for number, future in waiting}
    return [answers[number] for number in range(len(accounts))]


def _ask(
    host: Client, account: ApiKeyOwner, kept: _Kept, environ: Mapping[str, str] | None, prompt: Prompt | None
) -> OwnerAnswer:
    user, listed, problem, client = None, None, None, host
    malformed: tuple[Malformed, ...] = ()
    try:
        client = host.for_user(resolve(account.api_key, environ=environ, prompt=prompt))
        with one_large_answer():
            user = client.me().model_copy(update={"applications": (), "accounts": ()})  # not needed here
        client.user = user
        listing = client.certificates(kept.keep)
        listed, malformed, problem = listing.certificates, listing.malformed, listing.problem
    except RunbookError as error:
        problem = error
    return OwnerAnswer(account, user, listed, problem, client.server_clock, tuple(client.connections), malformed)


def each_once(
    lists: Iterable[tuple[User | None, Iterable[ClientAuthCertificate]]],
) -> Iterator[ClientAuthCertificate]:
    """Yield each certificate of several lists once: the service users of one account see each other's certificates.

    A certificate without an owner belongs to the first service user whose list holds it. Two entries of one list are
    two certificates, whatever they share.
    """
    seen = set()
    for number, (user, listed) in enumerate(lists):
        times: Counter[tuple[object, ...]] = Counter()
        for entry in listed:
            identity = _identity(entry, number)
            times[identity] += 1
            key = (identity, times[identity])
            if key not in seen:
                seen.add(key)
                yield entry if entry.user_id or user is None else entry.model_copy(update={"user_id": user.id})


def _identity(entry: ClientAuthCertificate, number: int) -> tuple[object, ...]:
    """What tells a listed certificate from others: its id, else all its fields, never its name alone. Without an owner
    or a key in them, the number of its list counts too."""
    if entry.id:
        return (entry.id,)
    place = number if entry.user_id is None and entry.serial is None and entry.public_key is None else None
    return (entry.user_id, entry.name, entry.serial, entry.public_key, entry.start_date, entry.end_date, place)


def account_row(answer: OwnerAnswer) -> tuple[str, ...]:
    """A row of `schemas.SERVICE_USERS`; a failed one says why."""
    return (
        (answer.user.friendly_name or answer.user.id) if answer.user else answer.account.name,
        Health.UNCHECKED.value if answer.problem else ANSWERED,
        answer.problem.what if answer.problem else "",
        "" if answer.listed is None else str(len(answer.listed)),
        iso(answer.user.end_date) if answer.user and answer.user.end_date else "",
        answer.user.id if answer.user else "",
        answer.account.api_key,
        answer.problem.reason.value if answer.problem else "",
    )


def connections_of(url: str, answers: Iterable[OwnerAnswer]) -> tuple[Connection, ...]:
    """The connections of all answers, without duplicates."""
    return tuple(dict.fromkeys(connection(url, facts) for answer in answers for facts in answer.connections))

"""Many service users at once: whom each API key belongs to, and which certificates it sees."""

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
from runbook_lib.lifecycle.provenance import connection
from runbook_lib.result import Connection
from runbook_lib.secrets import Prompt, resolve

ENTRIES_MAX = 2_000_000
"""How many entries the lists of many service users may have together, what several of them see counted again."""


@dataclass(frozen=True)
class ApiKeyOwner:
    """A service user to ask.

    Args:
        name: what to call it where it gives no name of its own.
        api_key: the reference of its API key.
    """

    name: str
    environment: Environment
    api_key: str


@dataclass(frozen=True)
class OwnerAnswer:
    """What a service user's API key gave.

    Args:
        user, listed: who it is, and every certificate it sees; None where it did not come so far.
        problem: why not, or why the list may not be whole; None where everything was answered.
        malformed: entries of the list that cannot be read.
        server_clock: what time it was there.
        connections: the TLS facts of its answers.
    """

    account: ApiKeyOwner
    user: User | None
    listed: tuple[ClientAuthCertificate, ...] | None
    problem: RunbookError | None
    server_clock: datetime | None = None
    connections: tuple[TlsFacts, ...] = ()
    malformed: tuple[Malformed, ...] = ()


class _Kept:
    """What many lists hold, each entry in memory once, and no more of them than one list may hold."""

    def __init__(self, already: int) -> None:
        self._left = CERTIFICATES_MAX - already
        self._kept: dict[Any, Any] = {}
        self._entries = 0
        self._lock = Lock()

    def keep(self, entry: Any) -> Any:
        """An entry, or its equal that is here already. Raises RunbookError (LIST_NOT_WHOLE) where there is no room."""
        with self._lock:
            kept = self._kept.get(entry)
            if self._entries >= ENTRIES_MAX or (kept is None and len(self._kept) >= self._left):
                raise RunbookError(
                    Reason.LIST_NOT_WHOLE,
                    f"all service users of this run together list more than {CERTIFICATES_MAX:,}",
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
        per_second: requests that a host is sent at most, repetitions included.
        connections: of each host, kept open and used by one service user after the other.
        environ, prompt: for the references.

    Returns:
        one answer for each account, in their order; an account that failed says why. Raises nothing for an account.
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
            stack.callback(pool.shutdown, cancel_futures=True)  # an interrupted run asks no further
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
            user = client.me().model_copy(update={"applications": (), "accounts": ()})  # which nobody asks for here
        client.user = user
        listing = client.certificates(kept.keep)
        listed, malformed, problem = listing.certificates, listing.malformed, listing.problem
    except RunbookError as error:
        problem = error
    return OwnerAnswer(account, user, listed, problem, client.server_clock, tuple(client.connections), malformed)


def each_once(
    lists: Iterable[tuple[User | None, Iterable[ClientAuthCertificate]]],
) -> Iterator[ClientAuthCertificate]:
    """What several service users see, each certificate once: those of one account see each other's.

    Where a list does not say whose a certificate is, it is that of the first whose list it is in. What one list has
    twice are two, whatever they share.
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
    """What tells a listed certificate from others: its id, else all that is said of it, never its name alone; where
    that is neither its owner nor its key, the list it is in as well."""
    if entry.id:
        return (entry.id,)
    place = number if entry.user_id is None and entry.serial is None and entry.public_key is None else None
    return (entry.user_id, entry.name, entry.serial, entry.public_key, entry.start_date, entry.end_date, place)


ACCOUNT_COLUMNS = ("name", "state", "why", "certificates", "end", "id", "api key", "reason")
"""Of service-users.csv. Scripts read them: add at the end, rename none."""

ANSWERED = "answered"


def account_row(answer: OwnerAnswer) -> tuple[str, ...]:
    """A service user as a row of text; one that failed says why."""
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
    """The connections of all answers, each once."""
    return tuple(dict.fromkeys(connection(url, facts) for answer in answers for facts in answer.connections))

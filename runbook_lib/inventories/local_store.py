"""Reads what the store on this machine holds, from its public files alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta

from runbook_lib.clock import Clock, iso
from runbook_lib.credentials.certificates import CertificateFacts
from runbook_lib.credentials.generation import Generation, Meta, read_public
from runbook_lib.credentials.store import Credential, Store
from runbook_lib.digicert.models import ClientAuthCertificate
from runbook_lib.errors import RunbookError
from runbook_lib.lifecycle.journal import Journal, JournalEntry, unfinished_issuance
from runbook_lib.lifecycle.rotation import Rotation, part_of, replay, rotate_command


@dataclass(frozen=True)
class LocalCertificate:
    """A generation in the store: its facts, or why they cannot be read; and what was recorded with it."""

    generation: Generation
    name: str
    is_current: bool
    rotation: str
    seen: CertificateFacts | None = None
    problem: RunbookError | None = None
    recorded: Meta | None = None

    @property
    def where(self) -> str:
        return f"{self.name}/{self.generation.folder.name}" + (" (in use)" if self.is_current else "")


class LocalStore:
    """The certificates of the store, to pair with listed ones, each at most once."""

    def __init__(self, certificates: Iterable[LocalCertificate]) -> None:
        self._left = dict(enumerate(certificates))
        self._found: defaultdict[tuple[str, object], list[int]] = defaultdict(list)
        for number, local in self._left.items():
            if local.seen is not None:
                self._found["serial", local.seen.serial].append(number)
            if local.recorded is not None:
                self._found["id", local.recorded.id].append(number)
                self._found["name", local.recorded.name].append(number)

    def take(self, listed: ClientAuthCertificate) -> LocalCertificate | None:
        """Take the local certificate that matches a listed one: by serial number, else by recorded id, else by name and
        end. Of several copies, the one with the listed name counts.
        """
        recorded: tuple[str, object] = ("id", listed.id) if listed.id else ("name", listed.name)
        for key in (("serial", listed.serial), recorded):
            numbers = [number for number in self._found.get(key, ()) if number in self._left]
            if key[0] == "name":  # a name alone proves little: another certificate may have it now
                numbers = [number for number in numbers if _ends_with(self._left[number], listed)]
            if numbers:
                return self._left.pop(min(numbers, key=lambda number: self._left[number].name != listed.name))
        return None

    @property
    def left(self) -> list[LocalCertificate]:
        """The certificates that were not taken."""
        return list(self._left.values())


def _ends_with(local: LocalCertificate, listed: ClientAuthCertificate) -> bool:
    """Whether a local certificate may be the listed one of its name: same end, and no different serial numbers."""
    if listed.serial is not None and local.seen is not None:
        return listed.serial == local.seen.serial
    end = local.seen.not_after if local.seen else local.recorded.not_after if local.recorded else None
    return end is not None and abs(end - listed.end_date) <= timedelta(days=1)


@dataclass(frozen=True)
class Unfinished:
    """An unfinished issuance or rotation in the store: why, and what to do next."""

    name: str
    why: str
    action: str


def read_store(store: Store, environment: str, clock: Clock) -> tuple[list[LocalCertificate], list[Unfinished]]:
    """The certificates of an environment in the store, and what is unfinished there."""
    found: list[LocalCertificate] = []
    unfinished: list[Unfinished] = []
    for credential in store.credentials(environment):
        rotation = None
        try:
            entries = Journal(credential.journal_path, clock).entries()
        except RunbookError as error:
            unfinished.append(Unfinished(credential.name, error.what, "04_inventory"))
        else:
            rotation = replay(entries)
            unfinished += _unfinished_of(credential, entries, rotation)
        for generation in credential.generations():
            found.append(_read(generation, credential, current=_current(credential), rotation=rotation))
    return found, unfinished


def _read(
    generation: Generation, credential: Credential, *, current: Generation | None, rotation: Rotation | None
) -> LocalCertificate:
    local = LocalCertificate(generation, credential.name, generation == current, part_of(rotation, generation.number))
    with suppress(RunbookError):
        local = replace(local, recorded=generation.meta)
    try:
        seen, _ = read_public(generation)
    except RunbookError as error:
        return replace(local, problem=error)
    return replace(local, seen=seen)


def _unfinished_of(credential: Credential, entries: list[JournalEntry], rotation: Rotation | None) -> list[Unfinished]:
    if rotation is not None and not rotation.finished:
        since = f"a rotation has been at “{rotation.stage}” since {iso(rotation.at[rotation.stage])}"
        problem = f"; the hook {rotation.hook_problem}" if rotation.hook_problem else ""
        return [Unfinished(credential.name, since + problem, rotate_command(credential.name))]
    last = unfinished_issuance(entries)
    if last is not None:
        return [Unfinished(credential.name, f"an issuance stopped at “{last.state}” on {iso(last.at)}", "01_issue")]
    return []


def _current(credential: Credential) -> Generation | None:
    try:
        return credential.current()
    except RunbookError:
        return None  # the generations are still rows; `runbook doctor` reports the link

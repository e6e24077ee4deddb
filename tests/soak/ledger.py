"""The audit after everything: what the store holds, held against what DigiCert ONE and its request journal say."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runbook_lib.credentials.certificates import facts
from runbook_lib.credentials.generation import Generation
from runbook_lib.credentials.store import Credential
from runbook_lib.digicert.client import Outcome
from runbook_lib.errors import RunbookError
from runbook_lib.lifecycle.journal import Journal, State
from runbook_lib.procedures.issue import Issue
from runbook_lib.secrets import Secret
from tests.conftest import Sandbox
from tests.soak.stories import prepare


@dataclass(frozen=True)
class Owner:
    """A service user with an account and a store of its own, on a sandbox that is shared.

    Args:
        since: the last request in the sandbox's journal before this user was made.
    """

    sandbox: Sandbox
    id: str
    account_id: str
    environ: dict[str, str]
    since: int

    def credential(self, name: str) -> Credential:
        return prepare(Issue, name, self.environ).credential  # type: ignore[no-any-return]

    def certificates(self) -> list[dict[str, Any]]:
        """This user's, as the server keeps them."""
        found: list[dict[str, Any]] = self.sandbox.admin("GET", f"/certificates?account_id={self.account_id}")
        return found

    def requests(self) -> list[dict[str, Any]]:
        """This user's, as the server's journal tells them; and those that a fault met before the user was known."""
        requests = self.sandbox.admin("GET", f"/requests?after={self.since}")
        return [one for one in requests if one["user_id"] in (self.id, None)]

    def posts(self) -> Counter[str]:
        """How many POSTs of this user reached the server, by the name asked for; “” where it was cut off."""
        requests = [one for one in self.requests() if one["method"] == "POST"]
        assert not [one for one in requests if one["effect"] and not one["certificate_name"]]
        return Counter(one["certificate_name"] or "" for one in requests)


class Grounds:
    """A sandbox on which each story gets an owner of its own."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self._folder = folder
        self._last = 0
        self._count = 0

    def owner(self) -> Owner:
        """A new one, with an empty store."""
        newest = self.sandbox.admin("GET", f"/requests?after={self._last}")
        self._last = max((int(one["number"]) for one in newest), default=self._last)
        self._count += 1
        user = self.sandbox.admin("POST", "/users")
        own = {"DIGICERT_ONE_API_KEY": user["api_key"], "DIGICERT_ONE_STORE": str(self._folder / str(self._count))}
        return Owner(self.sandbox, user["id"], user["account_id"], {**self.sandbox.env, **own}, self._last)


def held(credential: Credential, password: Secret) -> dict[int, Generation]:
    """The generations whose P12 opens and holds the key of its certificate, by serial number."""
    found = {}
    for generation in credential.generations():
        try:
            identity = generation.open(password)
        except RunbookError:
            continue
        if identity.key.public_key() == identity.certificate.public_key():
            found[facts(identity.certificate).serial] = generation
    return found


def audit(owner: Owner, name: str, *, kills: int = 0) -> list[str]:
    """Everything that is lost, orphaned or unexplained for a credential whose story is done; nothing, if all is well.

    Args:
        kills: how often a run was killed: each may have announced one POST that was never sent.
    """
    wrong = []
    procedure = prepare(Issue, name, owner.environ)
    credential, password = procedure.credential, procedure.session.secret("p12_password")
    opened = held(credential, password)
    for generation in credential.generations():
        if generation not in opened.values():
            wrong.append(f"the key of {generation.folder.name} is lost")
    on_server = owner.certificates()
    enabled = {int(one["serial_number"], 16): one["name"] for one in on_server if one["enabled"]}
    wrong += [f"“{one}” is enabled and nobody has its key" for serial, one in enabled.items() if serial not in opened]
    current = credential.current()
    if current is None:
        return [*wrong, "nothing is in use"]
    if current not in opened.values():
        return [*wrong, "the key of what is in use is lost"]
    if len(enabled) != 1:
        wrong.append(f"{len(enabled)} certificates are enabled: {', '.join(enabled.values())}")
    with procedure.session.mtls(current.open(password)) as client:
        probe = client.probe()
    if probe.outcome is not Outcome.ACCEPTED:
        wrong.append(f"what is in use is not let in: {probe.seen}")
    wrong += unexplained(owner, credential, kills)
    names = Counter(one["name"] for one in on_server)
    wrong += [f"“{one}” was issued {count} times" for one, count in names.items() if count > 1]
    return wrong


def unexplained(owner: Owner, credential: Credential, kills: int) -> list[str]:
    """POSTs that the journal did not announce, and announcements that no kill explains."""
    entries = Journal(credential.journal_path, prepare(Issue, credential.name, owner.environ).session.clock).entries()
    announced = Counter(one.data["name"] for one in entries if one.state is State.POSTED)
    sent = owner.posts()
    cut_off = sent.pop("", 0)
    wrong = [f"“{one}” was posted {sent[one]} times, and announced {announced[one]} times"
             for one in sent if sent[one] > announced[one]]  # fmt: skip
    missing = (announced - sent).total()
    if missing > kills or cut_off > missing:
        wrong.append(f"{missing} requests were announced and not sent, after {kills} kills")
    return wrong

"""Which changes need a ticket: those in the environments that the archive's newest expectation names.

A change without one is refused before the first request: headlessly and in a batch by the run, with buttons by what
keeps the evidence of the session. All of them ask `TicketPolicy.refusal`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter, ValidationError

from runbook_lib.digicert.environments import HOSTS, Environment
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.given import shown
from runbook_lib.reports.change_note import note_text

_LOCAL = "sandbox"
_BOOL: TypeAdapter[bool] = TypeAdapter(bool)


@dataclass(frozen=True)
class TicketPolicy:
    """A policy. It travels to the machine that runs the notebook.

    Args:
        environments: where a change needs a ticket: names of environments, or https:// addresses.
        problem: why the policy cannot be read; then every change needs a ticket.
    """

    environments: tuple[str, ...] = ()
    problem: RunbookError | None = None

    def requires(self, api_url: str) -> bool:
        """Whether a change on this DigiCert ONE needs a ticket.

        Args:
            api_url: its address; another spelling of a host (case, port 443, final dot) is the same host. If it is
                unknown (empty), any policy requires one.
        """
        if self.problem is not None:
            return True
        if not api_url:
            return bool(self.environments)
        local = Environment(_LOCAL, api_url, clientauth_url="").is_local
        return any(local if name == _LOCAL else _host(_address(name)) == _host(api_url) for name in self.environments)

    def refusal(self, values: Mapping[str, Any], environ: Mapping[str, str]) -> RunbookError | None:
        """Why a notebook must not run, or its change not be made: it needs a ticket and has none. None if it may.

        Args:
            values: the value of each parameter that the notebook takes; None if it is unknown.
            environ: names the hosts of the environments `sandbox` and `configured`.
        """
        if not lacks_ticket(values) or (not self.environments and self.problem is None):
            return None
        named = values.get("environment")
        if isinstance(named, str):
            try:
                environment = Environment.named(named, environ=environ)
            except RunbookError as error:
                return error  # the notebook would be refused for it too
            if not self.requires(environment.api_url):
                return None
            where = f"in {environment.name}"
        else:
            where = "in an environment that cannot be read from the parameters"
        if self.problem is not None:
            what = f"{self.problem.what} So it is unknown whether a change {where} needs a ticket."
            return RunbookError(self.problem.reason, what, remedy=f"{self.problem.remedy} Or set `ticket`.")
        what = f"This notebook changes something {where}, where the archive's policy requires a ticket."
        if "ticket" not in values:
            remedy = "Add `ticket` to its parameters cell, or copy the notebook again: `runbook init DIR`."
            return RunbookError(Reason.TICKET_MISSING, f"{what} It has no parameter `ticket`.", remedy=remedy)
        return RunbookError(Reason.TICKET_MISSING, f"{what} `ticket` is empty.")


def lacks_ticket(values: Mapping[str, Any]) -> bool:
    """Whether these are the parameters of a notebook that would change something without a ticket.

    Every notebook that changes something takes `confirm`. A dry run needs no ticket.
    """
    return "confirm" in values and not _is_true(values.get("dry_run")) and not note_text(values.get("ticket"))


def environment_name(text: str) -> str:
    """Check an environment of a policy.

    Raises:
        ValueError: it is neither a name nor an https:// address; a misspelt one would require nothing.
    """
    text = text.strip()
    try:
        if text != _LOCAL:
            _address(text)
    except RunbookError:
        known = ", ".join((_LOCAL, *HOSTS))
        raise ValueError(f"{shown(text)} must be one of {known}, or an https:// address") from None
    return text


def _address(name: str) -> str:
    return Environment.named(name, environ={}).api_url


def _host(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return (parts.hostname or "").rstrip("."), parts.port or 443


def _is_true(value: Any) -> bool:
    """Whether a parameter is true, as the notebook's own check reads it."""
    try:
        return _BOOL.validate_python(value)
    except ValidationError:
        return False

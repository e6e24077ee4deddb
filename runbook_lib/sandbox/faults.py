"""Faults on demand: rules and a seed decide which requests fail, and how.

A rule names a fault and the requests that it applies to. The same rules, seed and sequence of requests give the same
faults. Rules are kept in memory: a restarted sandbox has none, unless it is started with them.
"""

from __future__ import annotations

import random
import secrets
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from runbook_lib import yaml_as_written
from runbook_lib.errors import Reason, RunbookError

Fault = Literal[
    "drop_before",  # the connection ends, nothing was done
    "drop_after",  # it was done, and the connection ends without an answer
    "truncated",  # it was done, and the connection ends in the middle of the answer's body
    "delay_before",  # nothing is done for `seconds`
    "delay_after",  # it was done, and the answer comes `seconds` later
    "too_many_requests",  # 429; nothing was done
    "internal_server_error",  # 500
    "service_unavailable",  # 503
    "empty_answer",  # 200 without a body
    "html_page",  # 502 and a proxy's page
    "other_key",  # the certificate is for another key than the CSR's
    "wrong_eku",  # the certificate is for servers
    "too_long",  # the certificate is valid for 398 days
    "odd_serial",  # the certificate's serial number has an odd number of digits
    "no_ca_cert",  # the answer has no ca_cert
    "lower_case_serial",  # serial numbers in the answer are in lower case
    "late_in_list",  # the new certificate is not in the next `lag` lists of its user
    "shuffled_list",  # the list comes in another order
    "slow_enable",  # the next `lag` mTLS requests with the certificate see it as it was before
    "clock_skew",  # the server is `seconds` ahead of the sandbox's clock (behind: negative)
]

_ENDINGS = {
    "drop_before", "drop_after", "truncated", "too_many_requests", "internal_server_error", "service_unavailable",
    "empty_answer", "html_page",
}  # fmt: skip
"""Faults that replace the response; a request has at most one of them."""

_CERTIFICATES = "*/client-auth-certificate"
_REQUEST, _LIST, _ENABLE = ("POST", _CERTIFICATES), ("GET", _CERTIFICATES), ("PUT", _CERTIFICATES + "/*/enable")
_ONLY_FOR: dict[str, tuple[str, str]] = {
    "other_key": _REQUEST, "wrong_eku": _REQUEST, "too_long": _REQUEST, "odd_serial": _REQUEST, "no_ca_cert": _REQUEST,
    "late_in_list": _REQUEST, "shuffled_list": _LIST, "slow_enable": _ENABLE,
}  # fmt: skip
"""Method and path of the faults that make sense for one kind of request."""

_SETTINGS: dict[str, set[str]] = {
    "delay_before": {"seconds"},
    "delay_after": {"seconds"},
    "clock_skew": {"seconds"},
    "late_in_list": {"lag"},
    "slow_enable": {"lag"},
    "too_many_requests": {"retry_after", "retry_after_date"},
    "service_unavailable": {"retry_after", "retry_after_date", "effect"},
    "internal_server_error": {"effect"},
    "empty_answer": {"effect"},
    "html_page": {"effect"},
}
_REQUIRED = {"seconds", "lag"}
_MAX_DELAY_SECONDS = 600

Pattern = Annotated[str, Field(min_length=1, max_length=300)]


class Rule(BaseModel):
    """One fault and the requests that it applies to.

    Without `nth`, `first` and `probability` it applies to every matching request.

    Args:
        method, path, name: what a request must match. `path` and `name` are case-sensitive shell patterns (`*`, `?`,
            `[…]`). The name is that of the certificate that is requested, enabled, disabled, or presented over mTLS; a
            request without one matches no `name`.
        nth: only the n-th matching request, from 1.
        first: only the first so many matching requests.
        probability: each matching request, with this probability.
        seconds: for delay_before, delay_after and clock_skew (which may be negative).
        retry_after: seconds, in the header Retry-After of 429 and 503.
        retry_after_date: seconds from now, in the same header as an HTTP date, on the sandbox's clock.
        effect: whether the request is carried out despite this response.
        lag: how many lists, or mTLS requests, late.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    fault: Fault
    method: Literal["GET", "POST", "PUT"] | None = None
    path: Pattern | None = None
    name: Pattern | None = None
    nth: int | None = Field(default=None, ge=1)
    first: int | None = Field(default=None, ge=1)
    probability: float | None = Field(default=None, gt=0, le=1)
    seconds: float | None = Field(default=None, ge=-(10**9), le=10**9)
    retry_after: int | None = Field(default=None, ge=0, le=10**6)
    retry_after_date: int | None = Field(default=None, ge=0, le=10**6)
    effect: bool = False
    lag: int | None = Field(default=None, ge=1, le=1000)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        given = self.model_fields_set
        if len(given & {"nth", "first", "probability"}) > 1:
            raise ValueError("use only one of `nth`, `first` and `probability`")
        if self.path is not None and self.path[0] not in "/*?[":
            raise ValueError("`path` must start with / or *, otherwise it matches no request")
        if self.fault in _ONLY_FOR and self.method not in (None, _ONLY_FOR[self.fault][0]):
            raise ValueError(f"{self.fault} applies to {_ONLY_FOR[self.fault][0]} requests only")
        settings = _SETTINGS.get(self.fault, set())
        if missing := sorted(settings & _REQUIRED - given):
            raise ValueError(f"`{missing[0]}` is missing")
        if foreign := sorted(given & set.union(*_SETTINGS.values()) - settings):
            raise ValueError(f"{self.fault} has no `{foreign[0]}`")
        if {"retry_after", "retry_after_date"} <= given:
            raise ValueError("use `retry_after` or `retry_after_date`, not both")
        if self.fault in ("delay_before", "delay_after") and not 0 <= (self.seconds or 0) <= _MAX_DELAY_SECONDS:
            raise ValueError(f"a delay must be from 0 to {_MAX_DELAY_SECONDS} seconds")
        return self

    @property
    def carries_out(self) -> bool:
        """Whether the request is carried out although this fault replaces its response."""
        return self.fault in ("drop_after", "truncated") or self.effect

    def matches(self, method: str, path: str, name: str | None) -> bool:
        only_method, only_path = _ONLY_FOR.get(self.fault, (None, "*"))
        return (
            (self.method or only_method) in (None, method)
            and fnmatchcase(path, only_path)
            and (self.path is None or fnmatchcase(path, self.path))
            and (self.name is None or (name is not None and fnmatchcase(name, self.name)))
        )


_RULES = TypeAdapter(Annotated[list[Rule], Field(max_length=100)])


def read_rules(data: Any) -> list[Rule]:
    """Validate rules from YAML or JSON: a list of at most 100 mappings.

    Raises:
        RunbookError: BAD_PARAMETER, with the rule's number and what is wrong with it.
    """
    try:
        return _RULES.validate_python(data)
    except ValidationError as error:
        faults = "; ".join(_described(fault, data) for fault in error.errors())
        raise RunbookError(Reason.BAD_PARAMETER, faults) from None


def read_rules_file(path: Path) -> list[Rule]:
    """The rules of a YAML or JSON file.

    Raises:
        RunbookError: BAD_PARAMETER for a file that cannot be read or does not hold rules.
    """
    data, _ = yaml_as_written.read_yaml_file(path)
    try:
        return read_rules(data)
    except RunbookError as error:
        raise RunbookError(Reason.BAD_PARAMETER, f"{path}: {error.what}") from None


def _described(error: Any, data: Any) -> str:
    """`rule 2 (delay_before): seconds: Input should be …`"""
    match error["loc"]:
        case (int(index), *rest):
            rule = data[index]
            fault = f" ({rule['fault']})" if isinstance(rule, dict) and isinstance(rule.get("fault"), str) else ""
            where = [f"rule {index + 1}{fault}", *map(str, rest)]
        case _:
            where = ["the rules"]
    return ": ".join([*where, error["msg"].removeprefix("Value error, ")])


@dataclass
class Counted:
    """A rule in use: how many requests matched it, and how often its fault was applied."""

    rule: Rule
    matched: int = 0
    fired: int = 0

    def as_json(self) -> dict[str, Any]:
        return {**self.rule.model_dump(exclude_unset=True), "matched": self.matched, "fired": self.fired}


@dataclass
class FaultPlan:
    """The faults for one request. A fault counts only once it is taken, to be applied.

    Args:
        ending: the rule that replaces the response.
        applied: the names of the faults that were taken, for the journal.
    """

    rules: list[Counted] = field(default_factory=list)
    ending: Rule | None = None
    applied: list[str] = field(default_factory=list)

    def take(self, fault: Fault) -> Rule | None:
        """The rule of this fault, which counts as applied; None if it does not apply to the request."""
        for counted in self.rules:
            if counted.rule.fault == fault:
                counted.fired += 1
                self.applied.append(fault)
                return counted.rule
        return None


class Faults:
    """The rules in use, and the effects that they delay."""

    def __init__(self) -> None:
        self.seed: int | None = None
        self._rules: list[Counted] = []
        self._random = random.Random(0)  # noqa: S311 - must be repeatable
        self._late: dict[str, int] = {}
        self._slow: dict[str, tuple[bool, int]] = {}

    def set(self, rules: list[Rule], seed: int | None = None) -> None:
        """Replace the rules and end all delayed effects; draw a seed if none is given."""
        self.clear()
        if rules:
            self.seed = secrets.randbelow(10**9) if seed is None else seed
            self._rules = [Counted(rule) for rule in rules]
            self._random.seed(self.seed)

    def clear(self) -> None:
        """Remove all rules and end all delayed effects."""
        self.seed = None
        self._rules = []
        self._late.clear()
        self._slow.clear()

    @property
    def on(self) -> bool:
        return bool(self._rules)

    def as_json(self) -> dict[str, Any]:
        return {"seed": self.seed, "rules": [counted.as_json() for counted in self._rules]}

    def plan(self, method: str, path: str, name: str | None, applied: list[str]) -> FaultPlan:
        """The faults for the next request, from every rule that fires.

        Of several faults that replace the response, the first in the list wins.
        """
        plan = FaultPlan(applied=applied)
        for counted in self._rules:
            rule = counted.rule
            if not rule.matches(method, path, name):
                continue
            counted.matched += 1
            # drawn for every match, so that other rules do not shift the sequence
            if rule.probability is not None and self._random.random() >= rule.probability:
                continue
            if rule.nth not in (None, counted.matched) or counted.matched > (rule.first or counted.matched):
                continue
            if rule.fault in _ENDINGS:
                if plan.ending is not None:
                    continue
                plan.ending = rule
            plan.rules.append(counted)
        return plan

    # delayed effects

    def list_late(self, certificate_id: str, lag: int) -> None:
        """Keep a new certificate out of the next `lag` lists of its user."""
        self._late[certificate_id] = lag

    def is_listed(self, certificate_id: str) -> bool:
        """Whether this list of its user has the certificate; call it once for each list."""
        left = self._late.get(certificate_id, 0)
        if left:
            self._late[certificate_id] = left - 1
        return not left

    def enable_late(self, certificate_id: str, was: bool, lag: int) -> None:
        """Let the next `lag` mTLS requests see the certificate as it `was`."""
        self._slow[certificate_id] = (was, lag)

    def is_enabled(self, certificate_id: str, enabled: bool) -> bool:
        """Whether this mTLS request sees the certificate enabled; call it once for each request."""
        was, left = self._slow.get(certificate_id, (enabled, 0))
        if not left:
            return enabled
        self._slow[certificate_id] = (was, left - 1)
        return was

    def shuffle(self, items: list[Any]) -> None:
        self._random.shuffle(items)

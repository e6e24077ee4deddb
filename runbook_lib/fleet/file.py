"""The fleet file: accounts, notebook and limits. YAML, or CSV for the accounts alone.

A mistake in the file refuses the file before anything runs, with its line and account. A parameter *value* that the
notebook refuses costs only that account.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from yaml.nodes import SequenceNode

from runbook_lib import given, yaml_as_written
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.looks import withheld
from runbook_lib.reports.scan import plain_secrets
from runbook_lib.visible import visible
from runbook_lib.words import quantity

SHOWN = 20
"""Mistakes that are listed at once."""

PLAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def slug(account: str) -> str:
    """The name of an account's folder: the account's name if it can be one, else a unique name with a digest."""
    if PLAIN.fullmatch(account):
        return account
    readable = re.sub(r"[^a-z0-9]+", "-", account.lower()).strip("-")[:40]
    return f"{readable or 'account'}-{hashlib.sha256(account.encode()).hexdigest()[:10]}"


def _account(text: Any) -> Any:
    given.quoted(text)
    if not text or text != text.strip() or len(text) > 200 or visible(text) != text:
        raise ValueError("must have 1 to 200 visible characters and no spaces around them")
    return text


def _identifiers(parameters: dict[str, Any]) -> dict[str, Any]:
    for name, value in parameters.items():
        if not isinstance(name, str) or not given.is_name(name):
            raise ValueError(f"{given.shown(name)} cannot be a parameter's name")
        given.text(value)
    return parameters


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class HostBudget(_Strict):
    """Limits per host, for a whole batch with all its parts on all machines."""

    starts_per_second: float = Field(10, gt=0, le=10_000, description="runs that start in a second, per host")
    at_once: int = Field(8, ge=1, le=10_000, description="runs in progress at once, per host")


class FleetAccount(_Strict):
    """One service user: a name of your choice, and its own parameters."""

    account: Annotated[str, BeforeValidator(_account)]
    parameters: Annotated[dict[str, Any], AfterValidator(_identifiers)] = {}

    @property
    def slug(self) -> str:
        return slug(self.account)


class Fleet(_Strict):
    """The content of a fleet file. Times are in seconds."""

    notebook: str = Field("inventory", min_length=1, description="a short name, or the path of an .ipynb file")
    parameters: Annotated[dict[str, Any], AfterValidator(_identifiers)] = Field({}, description="of every account")
    budget: HostBudget = HostBudget()
    retries: int = Field(2, ge=0, le=10, description="repetitions for an account whose server did not answer properly")
    deadline: int = Field(6 * 3600, ge=1, description="of the whole batch")
    account_deadline: int = Field(3600, ge=1, description="of one account's run")
    cell_timeout: int = Field(600, ge=1, description="of one cell")
    accounts: tuple[FleetAccount, ...]

    def given(self, account: FleetAccount) -> dict[str, Any]:
        """The parameters of an account's run."""
        return self.parameters | account.parameters


@dataclass(frozen=True)
class Shard:
    """Part `number` of `of`, from 1. An account's part depends only on its name."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `I/N`. Raises RunbookError (BAD_PARAMETER)."""
        found = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
        if found is None or int(found[1]) > int(found[2]):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"--shard {given.shown(text)}: write I/N with I from 1 to N, for example 1/4.",
            )
        return cls(int(found[1]), int(found[2]))

    def share(self, budget: HostBudget) -> HostBudget:
        """This part's share of a budget while all parts run; at least one run at once."""
        return HostBudget(
            starts_per_second=budget.starts_per_second / self.of, at_once=max(1, budget.at_once // self.of)
        )

    def has(self, account: str) -> bool:
        return int(hashlib.sha256(account.encode()).hexdigest()[:12], 16) % self.of == self.number - 1


def read_fleet(path: Path) -> Fleet:
    """Read a fleet file.

    A CSV file has a column `account` and a column for each parameter; an empty cell sets nothing. Its values are text.
    `accounts` in a YAML file is a list, or the name of such a CSV file next to it.

    Raises:
        RunbookError: BAD_PARAMETER or SECRET_AS_VALUE, with line, account and remedy.
    """
    content = _content(path)
    if path.suffix.lower() == ".csv":
        return _checked(path, *_from_csv(path, content))
    data, lines = _from_yaml(path, content)
    if isinstance(data.get("accounts"), str):
        try:
            table = path.parent / given.path(data["accounts"])
        except ValueError as error:
            raise _refused([f"{path}: accounts: {error}"]) from None
        rows, lines = _from_csv(table, _content(table))
        return _checked(path, data | rows, lines, accounts_in=table)
    return _checked(path, data, lines)


def _content(path: Path) -> str:
    try:
        content = path.read_bytes()
        # Excel's “Unicode text” is UTF-16, and its “CSV UTF-8” has a byte order mark
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except OSError as error:
        raise _refused([f"{path} cannot be read: {error.strerror}."], remedy="Give the path of a fleet file.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        remedy = "Save it as UTF-8 text; in a spreadsheet, choose “CSV UTF-8”."
        raise _refused([f"{path}, line {line}: not UTF-8 text."], remedy=remedy) from None


# --- YAML -------------------------------------------------------------------------------------------------------------


def _from_yaml(path: Path, content: str) -> tuple[dict[str, Any], list[int]]:
    """The file's mapping with each account in our model's shape, and the line of each account."""
    data, node = yaml_as_written.read_yaml(path, content)
    if not isinstance(data, dict):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{path} is not a fleet file.",
            remedy="Start it with `accounts:` and, below, `- account: NAME`. parameters/fleet.yaml is a sample.",
        )
    accounts = data.get("accounts")
    if isinstance(accounts, list):
        data["accounts"] = [_split(entry) for entry in accounts]
    return data, _lines(node, "accounts")


def _split(entry: Any) -> Any:
    """`{account, api_key, …}` as written → `{account, parameters: {api_key, …}}`."""
    if not isinstance(entry, dict) or "account" not in entry:
        return entry
    rest = {name: value for name, value in entry.items() if name != "account"}
    return {"account": entry["account"], "parameters": rest}


def _lines(node: Any, name: str) -> list[int]:
    for key, value in node.value:
        if key.value == name and isinstance(value, SequenceNode):
            return [item.start_mark.line + 1 for item in value.value]
    return []


# --- CSV --------------------------------------------------------------------------------------------------------------


def _from_csv(path: Path, content: str) -> tuple[dict[str, Any], list[int]]:
    # a first line `sep=;` names the separator for Excel
    named = re.match(r"sep=(.)\r?\n", content)
    rest = content[named.end() :] if named else content
    above = 1 if named else 0
    reader = csv.reader(io.StringIO(rest, newline=""), delimiter=named[1] if named else _delimiter(rest), strict=True)
    accounts: list[dict[str, Any]] = []
    lines: list[int] = []
    try:
        header = _without_empty_end([name.strip() for name in next(reader, [])])
        if "account" not in header or "" in header or len(set(header)) != len(header):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"{path}, line {above + 1}: the header must name `account`, and each column once.",
                remedy="Write a header such as: account,environment,api_key (with commas, semicolons or tabs).",
            )
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            beyond = any(cell.strip() for cell in row[len(header) :])
            if beyond or len(row) < len(header):  # a shorter row may be cut off
                cells_here = quantity(len(row), "cell")
                raise RunbookError(
                    Reason.BAD_PARAMETER,
                    f"{path}, line {above + reader.line_num}: {cells_here}, but the header has {len(header)}.",
                    remedy='Put a value with a comma into "quotation marks".',
                )
            cells = {name: cell.strip() for name, cell in zip(header, row, strict=False)}
            account = cells.pop("account")
            accounts.append({"account": account, "parameters": {name: cell for name, cell in cells.items() if cell}})
            lines.append(above + reader.line_num)
    except csv.Error as error:
        line = above + reader.line_num
        raise RunbookError(Reason.BAD_PARAMETER, f"{path}, line {line}: malformed CSV: {error}.") from None
    return {"accounts": accounts}, lines


def _delimiter(content: str) -> str:
    """The header's separator. Some locales export semicolons; a spreadsheet's Unicode text has tabs."""
    first = re.split("[\r\n]", content, maxsplit=1)[0]
    return next((sign for sign in (",", ";", "\t") if sign in first), ",")


def _without_empty_end(header: list[str]) -> list[str]:
    """The header without the empty cells that a spreadsheet writes for cleared columns."""
    filled = next((number for number in range(len(header), 0, -1) if header[number - 1]), 0)
    return header[:filled]


# --- checks -----------------------------------------------------------------------------------------------------------


def _checked(path: Path, data: dict[str, Any], lines: list[int], *, accounts_in: Path | None = None) -> Fleet:
    listed = data.get("accounts")
    accounts: list[Any] = listed if isinstance(listed, list) else []
    source = accounts_in or path

    def where(index: int) -> str:
        entry = accounts[index] if index < len(accounts) else None
        name = entry.get("account") if isinstance(entry, dict) else None
        line = f", line {lines[index]}" if index < len(lines) else ""
        return f"{source}{line}" + (f", account {visible(name)!r}" if isinstance(name, str) and name else "")

    try:
        fleet = Fleet.model_validate(data)
    except ValidationError as error:
        raise _refused([_mistake(path, item, where) for item in error.errors(include_input=False)]) from None
    if not fleet.accounts:
        raise _refused([f"{source}: accounts: the list is empty"], remedy="Add at least one: - account: NAME")
    leaked = [f"{path}: `parameters`: {name}" for name, _ in plain_secrets([fleet.parameters])]
    for index, account in enumerate(fleet.accounts):
        leaked += [f"{where(index)}: {name}" for name, _ in plain_secrets([account.parameters])]
        if any(plain_secrets([{"account": account.account}])):
            leaked.append(f"{source}, line {lines[index]}: account")
    if leaked:
        what = f"A plain value instead of a reference to a secret:\n{_list(leaked)}"
        raise RunbookError(Reason.SECRET_AS_VALUE, what)
    if twice := [f"{where(index)}: {what} in line {lines[before]}" for index, what, before in _twice(fleet)]:
        raise _refused(twice, remedy="Remove one of the two, or give it its own name and parameters. Nothing has run.")
    return fleet


def _twice(fleet: Fleet) -> Iterator[tuple[int, str, int]]:
    """Accounts that duplicate an earlier one: the index, what is the same, and the other's index.

    Names that look alike are one name to a reader, and to some file systems. With the same parameters, one service user
    would be reported under two names, and another would be missing.
    """
    names: dict[str, int] = {}
    parameters: dict[str, int] = {}
    for index, account in enumerate(fleet.accounts):
        name = " ".join(unicodedata.normalize("NFKC", account.account).casefold().split())
        given = inputs_digest("", fleet.given(account))
        if name in names:
            same = account.account == fleet.accounts[names[name]].account
            yield index, "the same account as" if same else "looks like the account", names[name]
        elif given in parameters:
            yield index, "has the same parameters as the account", parameters[given]
        names.setdefault(name, index)
        parameters.setdefault(given, index)


_MESSAGES = {
    "tuple_type": "must be a list, or the name of a CSV file next to this one",
    "missing": "missing",
    "extra_forbidden": "unknown setting",
}
"""What pydantic's messages of these types say here."""


def _mistake(path: Path, item: Any, where: Any) -> str:
    message = _MESSAGES.get(item["type"], item["msg"].removeprefix("Value error, "))
    match item["loc"]:
        case ("accounts", int(index), *rest):
            inner = [str(part) for part in rest if part != "parameters"]
            return ": ".join([where(index), *inner, message])
        case rest:
            return ": ".join([str(path), ".".join(map(str, rest)), message])


def _refused(mistakes: list[str], *, remedy: str | None = None) -> RunbookError:
    remedy = remedy or "Correct the file; parameters/fleet.yaml shows every setting. Nothing has run."
    return RunbookError(Reason.BAD_PARAMETER, _list(mistakes), remedy=remedy)


def _list(lines: list[str]) -> str:
    more = f"\n… and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return withheld("\n".join(lines[:SHOWN]) + more)


def inputs_digest(notebook: str, parameters: Mapping[str, Any]) -> str:
    """SHA-256 of what an account's run depends on: the notebook's digest and the parameters."""
    text = "\n".join([notebook, *(f"{name}={value!r}" for name, value in sorted(parameters.items()))])
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()

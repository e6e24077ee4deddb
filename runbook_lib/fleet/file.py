"""The fleet file: which accounts, which notebook, how fast at most. YAML, or CSV for the accounts alone.

A mistake in the file refuses the whole of it before anything runs, with its line and account. What a notebook says of
a parameter's *value* is another matter: that costs one account, and the night's others are done.
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

SHOWN = 20
"""So many mistakes are told at once."""

PLAIN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def slug(account: str) -> str:
    """An account's name as a folder's: itself where it is one already, else with a digest, so that no two are alike."""
    if PLAIN.fullmatch(account):
        return account
    readable = re.sub(r"[^a-z0-9]+", "-", account.lower()).strip("-")[:40]
    return f"{readable or 'account'}-{hashlib.sha256(account.encode()).hexdigest()[:10]}"


def _account(text: Any) -> Any:
    given.quoted(text)
    if not text or text != text.strip() or len(text) > 200 or visible(text) != text:
        raise ValueError("a name has 1 to 200 characters that can be seen, and no spaces around it")
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
    """How hard a host may be asked. It holds for a whole batch and all its parts, on however many machines it runs."""

    starts_per_second: float = Field(10, gt=0, le=10_000, description="runs begun in a second, for each host")
    at_once: int = Field(8, ge=1, le=10_000, description="runs under way at one moment, for each host")


class FleetAccount(_Strict):
    """One service user: a name of your choice, and the parameters that only it has."""

    account: Annotated[str, BeforeValidator(_account)]
    parameters: Annotated[dict[str, Any], AfterValidator(_identifiers)] = {}

    @property
    def slug(self) -> str:
        return slug(self.account)


class Fleet(_Strict):
    """The whole file. Times in seconds."""

    notebook: str = Field("inventory", min_length=1, description="a short name, or the path of an .ipynb file")
    parameters: Annotated[dict[str, Any], AfterValidator(_identifiers)] = Field({}, description="of every account")
    budget: HostBudget = HostBudget()
    retries: int = Field(2, ge=0, le=10, description="more runs of an account whose server did not answer well")
    deadline: int = Field(6 * 3600, ge=1, description="of the whole batch")
    account_deadline: int = Field(3600, ge=1, description="of one account's run")
    cell_timeout: int = Field(600, ge=1, description="of one cell")
    accounts: tuple[FleetAccount, ...]

    def given(self, account: FleetAccount) -> dict[str, Any]:
        """The parameters of an account's run."""
        return self.parameters | account.parameters


@dataclass(frozen=True)
class Shard:
    """Part `number` of `of`, from 1. An account's part depends on its name alone, not on its neighbours."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read `I/N`. Raises RunbookError (BAD_PARAMETER)."""
        found = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
        if found is None or int(found[1]) > int(found[2]):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"--shard {given.shown(text)}: write I/N, with I from 1 to N: 1/4, 2/4, 3/4 and 4/4.",
            )
        return cls(int(found[1]), int(found[2]))

    def share(self, budget: HostBudget) -> HostBudget:
        """What this part may do of a budget, while the others run too: of `at_once` it has one run at the least."""
        return HostBudget(
            starts_per_second=budget.starts_per_second / self.of, at_once=max(1, budget.at_once // self.of)
        )

    def has(self, account: str) -> bool:
        return int(hashlib.sha256(account.encode()).hexdigest()[:12], 16) % self.of == self.number - 1


def read_fleet(path: Path) -> Fleet:
    """Read a fleet file.

    A CSV file holds accounts: a column `account`, and a column for each parameter, empty where an account has none of
    its own; its values are text. `accounts` in a YAML file is a list, or the name of such a CSV file beside it.

    Raises:
        RunbookError: BAD_PARAMETER or SECRET_AS_VALUE, with line, account and remedy.
    """
    content = _content(path)
    if path.suffix.lower() == ".csv":
        return _checked(path, *_from_csv(path, content))
    data, lines = _from_yaml(path, content)
    if isinstance(data.get("accounts"), str):
        try:
            beside = path.parent / given.path(data["accounts"])
        except ValueError as error:
            raise _refused([f"{path}: accounts: {error}"]) from None
        rows, lines = _from_csv(beside, _content(beside))
        return _checked(path, data | rows, lines, accounts_in=beside)
    return _checked(path, data, lines)


def _content(path: Path) -> str:
    try:
        content = path.read_bytes()
        # with a byte order mark: Excel's “Unicode text” is UTF-16, and its “CSV UTF-8” has one too
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except OSError as error:
        raise _refused(
            [f"{path} cannot be read: {error.strerror}."], remedy="Name a fleet file that is there."
        ) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        remedy = "Save it as UTF-8 text; a spreadsheet exports “CSV UTF-8”."
        raise _refused([f"{path}, line {line}: not UTF-8 text."], remedy=remedy) from None


# --- YAML -------------------------------------------------------------------------------------------------------------


def _from_yaml(path: Path, content: str) -> tuple[dict[str, Any], list[int]]:
    """The file's mapping, each account in our model's shape, and the line each account is in."""
    data, node = yaml_as_written.read_yaml(path, content)
    if not isinstance(data, dict):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{path} holds no fleet.",
            remedy="Begin with `accounts:` and below it `- account: NAME`; parameters/fleet.yaml is a sample.",
        )
    accounts = data.get("accounts")
    if isinstance(accounts, list):
        data["accounts"] = [_split(one) for one in accounts]
    return data, _lines(node, "accounts")


def _split(entry: Any) -> Any:
    """`{account, api_key, …}` as it is written → `{account, parameters: {api_key, …}}`."""
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
    # Excel begins a file with `sep=;` where somebody told it to, and then minds nothing else
    told = re.match(r"sep=(.)\r?\n", content)
    rest = content[told.end() :] if told else content
    above = 1 if told else 0
    reader = csv.reader(io.StringIO(rest, newline=""), delimiter=told[1] if told else _delimiter(rest), strict=True)
    accounts: list[dict[str, Any]] = []
    lines: list[int] = []
    try:
        header = _without_empty_end([name.strip() for name in next(reader, [])])
        if "account" not in header or "" in header or len(set(header)) != len(header):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"{path}, line {above + 1}: the header must name `account`, and each parameter once.",
                remedy="Begin the file with, for example: account,environment,api_key (commas, semicolons or tabs).",
            )
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            beyond = any(cell.strip() for cell in row[len(header) :])
            if beyond or len(row) < len(header):  # a shorter one may be cut off
                raise RunbookError(
                    Reason.BAD_PARAMETER,
                    f"{path}, line {above + reader.line_num}: {len(row)} cells, and the header has {len(header)}.",
                    remedy='Put a value that holds a comma into "quotation marks".',
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
    """What the header has: semicolons where the comma is the decimal sign, tabs in a spreadsheet's Unicode text."""
    first = re.split("[\r\n]", content, maxsplit=1)[0]
    return next((one for one in (",", ";", "\t") if one in first), ",")


def _without_empty_end(header: list[str]) -> list[str]:
    """A header without the empty cells that a spreadsheet writes for columns which once held something."""
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
        raise _refused([_told(path, item, where) for item in error.errors(include_input=False)]) from None
    if not fleet.accounts:
        raise _refused([f"{source}: accounts: there is none"], remedy="Name at least one: - account: NAME")
    leaked = [f"{path}: `parameters`: {name}" for name, _ in plain_secrets([fleet.parameters])]
    for index, one in enumerate(fleet.accounts):
        leaked += [f"{where(index)}: {name}" for name, _ in plain_secrets([one.parameters])]
        if any(plain_secrets([{"account": one.account}])):
            leaked.append(f"{source}, line {lines[index]}: account")
    if leaked:
        raise RunbookError(Reason.SECRET_AS_VALUE, f"A plain value stands where a reference is due.\n{_list(leaked)}")
    if twice := [f"{where(index)}: {what} in line {lines[before]}" for index, what, before in _twice(fleet)]:
        raise _refused(twice, remedy="Remove one of the two, or give it what is its own. Nothing has run.")
    return fleet


def _twice(fleet: Fleet) -> Iterator[tuple[int, str, int]]:
    """Accounts that cannot be told from an earlier one: (its index, what is the same as, the other's index).

    Names that read alike are one name to whoever looks for it in the report, and to some file systems. Where all
    parameters are the same, one service user would be reported under two names, and the other not at all.
    """
    names: dict[str, int] = {}
    parameters: dict[str, int] = {}
    for index, one in enumerate(fleet.accounts):
        name = " ".join(unicodedata.normalize("NFKC", one.account).casefold().split())
        given = inputs_digest("", fleet.given(one))
        if name in names:
            same = one.account == fleet.accounts[names[name]].account
            yield index, "the same account as" if same else "it reads like the account", names[name]
        elif given in parameters:
            yield index, "all its parameters are those of the account", parameters[given]
        names.setdefault(name, index)
        parameters.setdefault(given, index)


def _told(path: Path, item: Any, where: Any) -> str:
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "tuple_type":
        message = "a list is due, or the name of a CSV file beside this one"
    match item["loc"]:
        case ("accounts", int(index), *rest):
            inner = [str(part) for part in rest if part != "parameters"]
            return ": ".join([where(index), *inner, message])
        case rest:
            return ": ".join([str(path), ".".join(map(str, rest)), message])


def _refused(told: list[str], *, remedy: str | None = None) -> RunbookError:
    remedy = remedy or "Correct what is named above; parameters/fleet.yaml shows every setting. Nothing has run."
    return RunbookError(Reason.BAD_PARAMETER, _list(told), remedy=remedy)


def _list(told: list[str]) -> str:
    more = f"\n… and {len(told) - SHOWN} more" if len(told) > SHOWN else ""
    return withheld("\n".join(told[:SHOWN]) + more)


def inputs_digest(notebook: str, parameters: Mapping[str, Any]) -> str:
    """SHA-256 of what a run of an account depends on: the notebook's digest and the parameters."""
    text = "\n".join([notebook, *(f"{name}={value!r}" for name, value in sorted(parameters.items()))])
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()

"""The types of parameters, and the messages for wrong values."""

from __future__ import annotations

import re
import shlex
from datetime import date
from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, StringConstraints, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from runbook_lib import given
from runbook_lib.clock import parse_day, parse_utc, within
from runbook_lib.digicert.environments import FROM_VARIABLES, Environment
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.rules import NAME_MAX_LENGTH, is_certificate_name
from runbook_lib.secrets import SecretRef

SECRET = Reason.SECRET_AS_VALUE.value
"""pydantic's error type for a plain value in place of a reference."""

LONGEST_NOTE = 200
"""Characters of a line of free text."""


def _name(text: str) -> str:
    if not is_certificate_name(text):
        raise ValueError(
            f"must begin with a letter or a digit, hold only letters, digits, spaces, dashes and underscores, and have "
            f"at most {NAME_MAX_LENGTH} characters (this has {len(text)})"
        )
    return text


def _text(value: Any) -> Any:
    if isinstance(value, date):  # papermill's YAML reader makes dates
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return given.quoted(value)


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number, not true or false")  # noqa: TRY004  (pydantic's rule)
    return value


def _check_moment(text: str, expected: str) -> None:
    """Raise ValueError with the message `expected` if the text is not a moment; as `within` does if it is too far."""
    try:
        moment = parse_utc(text)
    except ValueError:
        raise ValueError(expected) from None
    within(moment.date())


def _moment(text: str) -> str:
    """A date without a time means its last second, as in DigiCert ONE. An empty text stays empty."""
    text = text.strip()
    if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
        text += "T23:59:59Z"
    if text:
        _check_moment(text, "must be a date, written YYYY-MM-DD or YYYY-MM-DDTHH:MM:SSZ")
    return text


def _day(text: str) -> str:
    """An empty text stays empty."""
    text = text.strip()
    if text:
        parse_day(text)
    return text


def _clock(text: str) -> str:
    if text != "system":
        _check_moment(text, 'must be "system", or a date and time written YYYY-MM-DDTHH:MM:SSZ')
    return text


def _environment(text: str) -> str:
    if text.strip() not in FROM_VARIABLES:  # only the machine that runs the notebook has the variables
        try:
            Environment.named(text, environ={})
        except RunbookError as error:
            raise ValueError(error.what.removeprefix("environment: ").rstrip(".")) from None
    return text


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"must be a command: check its quotes and backslashes ({error})") from None
    if text and (not words or "\0" in text):
        raise ValueError("must be a command, for example systemctl reload nginx, or empty for none")
    return text


def _one_line(text: str) -> str:
    text = text.strip()
    if len(text.splitlines()) > 1:
        raise ValueError("must be one line")
    if len(text) > LONGEST_NOTE:
        raise ValueError(f"must have at most {LONGEST_NOTE} characters, and has {len(text):,}")
    return text


def _path(text: str) -> str:
    if text:
        given.path(text)
    return text


def _file(text: str) -> str:
    if text:
        try:
            found = given.path(text).is_file()
        except OSError as error:
            raise ValueError(f"{given.shown(text)} cannot be checked: {error.strerror}") from None
        if not found:
            raise ValueError(f"there is no file {given.shown(text)}")
    return text


def _lines(value: Any) -> Any:
    """A list as it is; a text, as a form and a command line give it, split into one item per line."""
    return [line.strip() for line in value.splitlines() if line.strip()] if isinstance(value, str) else value


def _reference(text: str) -> str:
    try:
        SecretRef.parse(text)
    except RunbookError as error:
        raise PydanticCustomError(SECRET, "{what}", {"what": f"{error.what} {error.remedy}"}) from None
    return text.strip()


AS_TEXT = BeforeValidator(_text)
Text = Annotated[str, AS_TEXT]
Number = Annotated[int, BeforeValidator(_number)]
Digest = Annotated[str, StringConstraints(strip_whitespace=True, pattern="^([0-9a-f]{64})?$"), AS_TEXT]
Stripped = Annotated[Text, AfterValidator(str.strip)]
OneLine = Annotated[Text, AfterValidator(_one_line)]
Name = Annotated[Text, AfterValidator(_name)]
PathText = Annotated[Text, AfterValidator(_path)]
Paths = Annotated[list[PathText], BeforeValidator(_lines)]
Moment = Annotated[Text, AfterValidator(_moment)]
Day = Annotated[Text, AfterValidator(_day)]
EnvironmentText = Annotated[Text, AfterValidator(_environment)]
CommandText = Annotated[Text, AfterValidator(_command)]
ClockText = Annotated[Text, AfterValidator(_clock)]
ExistingFile = Annotated[Text, AfterValidator(_file)]

_REFERENCE = AfterValidator(_reference)
_OPTIONAL = AfterValidator(lambda text: _reference(text) if text.strip() else "")

SecretReference = Annotated[Text, _REFERENCE]
"""The type of a parameter that names a secret."""

OptionalSecretReference = Annotated[Text, _OPTIONAL]
"""The same, but an empty text means no secret."""

References = Annotated[list[SecretReference], BeforeValidator(_lines)]


# --- messages ---------------------------------------------------------------------------------------------------------


def problems(error: ValidationError, model: type[BaseModel]) -> dict[str, str]:
    """The messages of a pydantic error, one per parameter, for the command line, the form and the doctor.

    A message says what the value must be, and repeats the value if it cannot be a secret. The key "" holds what
    concerns several parameters.
    """
    found: dict[str, str] = {}
    for item in error.errors(include_url=False):
        name = str(item["loc"][0]) if item["loc"] else ""
        info = model.model_fields.get(name)
        place = f"item {item['loc'][1] + 1}: " if len(item["loc"]) > 1 and isinstance(item["loc"][1], int) else ""
        found.setdefault(name, place + _words(item, info) + _given(item, info))
    return found


def _words(item: ErrorDetails, info: FieldInfo | None) -> str:
    """One of pydantic's errors in plain words, without its regular expressions."""
    ctx = item.get("ctx", {})
    match item["type"]:
        case "value_error":
            return item["msg"].removeprefix("Value error, ")
        case "string_pattern_mismatch" if info is not None:
            return f"must be {info.description}"
        case "string_too_short":
            return "must not be empty"
        case "string_too_long":
            return f"must have at most {ctx['max_length']} characters, and has {len(str(item['input'])):,}"
        case "literal_error" | "enum":
            return f"must be {str(ctx['expected']).replace(chr(39), '')}"
        case "bool_parsing" | "bool_type":
            return "must be true or false"
        case kind if info is not None and info.annotation is int and kind.startswith(("int_", "greater_", "less_")):
            low, high = limits(info)
            return f"must be a whole number from {low} to {high}, for example {info.default}"
        case "list_type":
            return "must be a list, one item per line"
        case _:
            return item["msg"]


def _given(item: ErrorDetails, info: FieldInfo | None) -> str:
    value = item["input"]
    if (
        info is None
        or is_secret(info)
        or isinstance(value, bool | type(None) | dict | list)
        or value == ""
        or given.shown(value) in item["msg"]
    ):
        return ""
    return f" (given: {given.shown(value)})"


def limits(info: FieldInfo) -> tuple[int, int]:
    """The lowest and highest allowed number."""
    low = next((rule.ge for rule in info.metadata if hasattr(rule, "ge")), 0)
    high = next((rule.le for rule in info.metadata if hasattr(rule, "le")), 1_000_000)
    return low, high


def is_secret(info: FieldInfo) -> bool:
    """Whether a parameter, or each of its items, names a secret."""
    return any(rule in info.metadata for rule in (_REFERENCE, _OPTIONAL)) or SecretReference in get_args(
        info.annotation
    )

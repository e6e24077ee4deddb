"""Input from people and files: paths, numbers and text, checked on entry, and shown safely in errors.

Every function raises ValueError with a sentence that fits after the name of a parameter or an option.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from keyword import iskeyword
from pathlib import Path
from typing import Any

from runbook_lib.looks import could_be_secret
from runbook_lib.visible import visible

_SHOWN = 60
_DIGITS = 300
_LONGEST_PATH, _LONGEST_NAME = 4095, 255  # PATH_MAX without its NUL, and NAME_MAX, on Linux; less on macOS
_INTEGER = re.compile(r"-?[1-9][0-9]*|0")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+")


def shown(value: Any) -> str:
    """A value as an error may quote it: escaped, short and on one line; only its length if it could be a secret."""
    text = value if isinstance(value, str) else repr(value)
    if could_be_secret(text):
        return f"a text of {len(text):,} characters"
    if len(text) > _SHOWN:
        return f"'{visible(text[:_SHOWN])}…' ({len(text):,} characters)"
    return f"'{visible(text)}'" if isinstance(value, str) else visible(text)


def did_you_mean(word: str, known: Iterable[str], show: Callable[[str], str] = str) -> str:
    """The end of a refusal, which names similar words: " Did you mean NAME?", or nothing.

    Args:
        show: formats a known word.
    """
    from difflib import get_close_matches

    known = sorted(known)
    close = [word] if word in known else get_close_matches(word, known)
    return f" Did you mean {' or '.join(map(show, close))}?" if close else ""


def number(text: str) -> int | float | None:
    """The number in a text, or None. Only its usual spelling counts: 0012, 1_000 and 1e3 are text."""
    if len(text) <= _DIGITS:
        if _INTEGER.fullmatch(text):
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else None
    if _INTEGER.fullmatch(text) or _FLOAT.fullmatch(text):
        raise ValueError(f"the number has {len(text):,} digits; at most {_DIGITS} are accepted")
    return None


def is_name(name: str) -> bool:
    """Whether a notebook's variable, and so a parameter, can have this name."""
    return name.isidentifier() and not iskeyword(name)


def quoted(value: Any) -> str:
    """Text. Refuses what YAML makes of unquoted text, which would be another text or none."""
    match value:
        case str():
            text(value)
            return value
        case bool():
            words = "ON, on, yes and true" if value else "NO, no, off and false"
            why = f'YAML reads unquoted {words} as a truth value. Write it in quotes, for example "{words[:2]}"'
        case None:
            why = 'YAML reads an empty value, ~ and null as nothing. Write it in quotes, or ""'
        case float():
            why = 'YAML reads unquoted 1.10 as the number 1.1. Write it in quotes, "1.10"'
        case int():
            why = f'YAML reads it as a number. Write it in quotes, "{shown(value)}"'
        case list() | tuple():
            why = "this is a list"
        case _:
            why = "this is a mapping"
    raise ValueError(f"must be text; {why}")


def text(value: Any) -> None:
    """Refuse text that UTF-8 cannot encode, at any depth of lists and mappings."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{shown(value)} is not UTF-8 text") from None
    elif isinstance(value, Mapping):
        for pair in value.items():
            text(pair)
    elif isinstance(value, list | tuple):
        for item in value:
            text(item)


def path(value: str, environ: Mapping[str, str] | None = None) -> Path:
    """A path that the operating system accepts, with its `~` resolved.

    Args:
        environ: where HOME is looked up; None for the process's own environment.
    """
    if not value.strip():
        raise ValueError("the path is empty; name a file or folder")
    if "\0" in value:
        raise ValueError(f"{shown(value)} contains a NUL character, which a path cannot")
    try:
        length, names = len(os.fsencode(value)), [len(os.fsencode(name)) for name in value.split("/")]
    except UnicodeEncodeError:
        raise ValueError(f"{shown(value)} cannot be a path here") from None
    if length > _LONGEST_PATH or max(names) > _LONGEST_NAME:
        raise ValueError(f"{shown(value)} is too long for a path")
    if not value.startswith("~"):
        return Path(value)
    first, slash, rest = value.partition("/")
    if first == "~":
        return home(environ) / rest
    found = os.path.expanduser(first)  # noqa: PTH111  (the error of Path's does not name the user)
    if found == first:
        raise ValueError(f"this machine has no user {shown(first[1:])}, named in {shown(value)}")
    return Path(f"{found}{slash}{rest}")


ARCHIVE_VARIABLE, ARCHIVE_FOLDER = "DIGICERT_ONE_ARCHIVE", "archive"
"""The variable that names the archive, and the folder below the current one if it is not set."""


def archive_folder(environ: Mapping[str, str], named: str = "") -> Path:
    """The archive of runs and clicked sessions, absolute.

    Args:
        named: goes before the variable; empty if nobody named one.
    """
    return path(named or environ.get(ARCHIVE_VARIABLE) or ARCHIVE_FOLDER, environ).absolute()


def home(environ: Mapping[str, str] | None = None) -> Path:
    """The home folder: HOME, else the system's entry for this user."""
    given = (os.environ if environ is None else environ).get("HOME")
    try:
        return Path(given) if given else Path.home()
    except (RuntimeError, KeyError):
        raise ValueError(f"HOME is not set, and user {os.getuid()} has no home folder; set HOME") from None

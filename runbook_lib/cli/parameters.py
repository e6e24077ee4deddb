"""Parameters from files and from the command line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runbook_lib import given, yaml_as_written
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError


def read_parameters(files: Iterable[Path], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Parameters from YAML files and from pairs; later ones override. Raises RunbookError (BAD_PARAMETER)."""
    found: dict[str, Any] = {}
    for file in files:
        content, node = yaml_as_written.read_yaml_file(file)
        if content is not None and not isinstance(content, dict):
            raise RunbookError(Reason.BAD_PARAMETER, f"{file} does not consist of `name: value` lines.")
        lines = {key.value: key.start_mark.line + 1 for key, _ in node.value} if node is not None else {}
        for name in content or {}:
            _refuse_name(f"{file}, line {lines[name]}" if name in lines else str(file), name)
        found |= content or {}
    for name, value in pairs:
        _refuse_name("-p", name)
        try:
            found[name] = _typed(value)
        except ValueError as error:
            raise RunbookError(Reason.BAD_PARAMETER, f"-p {name}: {error}.") from None
    return found


def _refuse_name(where: str, name: str) -> None:
    """Refuse a name that cannot be a variable: a parameter becomes a line `name = value` of the notebook."""
    if not given.is_name(name):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{where}: {given.shown(name)} cannot be a parameter's name.",
            remedy="Use letters, digits and underscores, and no digit first, for example due_days. Write -p NAME "
            "VALUE, or NAME: VALUE in a YAML file.",
        )


def _typed(text: str) -> Any:
    """A truth value, a number, else text. Only a number's usual spelling is a number: 0012 and 1_000 stay text."""
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    given.text(text)
    number = given.number(text)
    return text if number is None else number

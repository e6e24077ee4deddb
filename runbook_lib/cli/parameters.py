"""Parameters from files and words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from runbook_lib import given, yaml_as_written
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError


def read_parameters(files: Iterable[Path], pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Parameters of YAML files and of names with values; later ones win. Raises RunbookError (BAD_PARAMETER)."""
    found: dict[str, Any] = {}
    for file in files:
        content, node = yaml_as_written.read_yaml_file(file)
        if content is not None and not isinstance(content, dict):
            raise RunbookError(Reason.BAD_PARAMETER, f"{file} holds no `name: value` lines.")
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
    """A parameter becomes a line `name = value` of the notebook."""
    if not given.is_name(name):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{where}: {given.shown(name)} cannot be a parameter's name.",
            remedy="A name has letters, digits and underscores, and no digit first, for example due_days. "
            "Write -p NAME VALUE, or NAME: VALUE in a YAML file.",
        )


def _typed(text: str) -> Any:
    """True and false, numbers, else text. Only what is written as the number is: a name 0012 or 1_000 stays itself."""
    if text in ("true", "True", "false", "False"):
        return text.lower() == "true"
    given.text(text)
    number = given.number(text)
    return text if number is None else number

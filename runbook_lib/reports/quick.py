"""Imported before nbformat: it keeps an import that takes longer than a whole run from happening.

jsonschema offers to check IRIs (RFC 3987) wherever `rfc3987_syntax` is installed, and JupyterLab's own dependencies
install it: importing it compiles a grammar, for more than half a second. No schema of a notebook has an IRI in it. The
check stays; the grammar is compiled when it is first used.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_NAME = "rfc3987_syntax"


class _Later(ModuleType):
    """Stands for the module until something of it is used."""

    def is_valid_syntax(self, *args: Any) -> Any:
        return self.__getattr__("is_valid_syntax")(*args)

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(_NAME) is self:
            del sys.modules[_NAME]
        return getattr(importlib.import_module(_NAME), name)


def defer_grammar() -> None:
    """Does nothing where the grammar is not installed, or has been compiled already."""
    found = None if _NAME in sys.modules else find_spec(_NAME)
    if found is not None:
        later = sys.modules[_NAME] = _Later(_NAME)
        later.__spec__, later.__file__ = found, found.origin  # `inspect` asks every module for its file
        later.__path__ = list(found.submodule_search_locations or [])  # and `from`, whether one is a package

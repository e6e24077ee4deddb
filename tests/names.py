"""Public names of `runbook_lib` that stand for two things: `python -m tests.names` lists them.

A name is a class or function at the top of a module, a module, or a room. Each means one thing in the whole package.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "runbook_lib"

BY_PROTOCOL = {"main", "command"}
"""What each program, and each module of a command, has: whoever starts it calls it."""

BY_DESIGN = {"procedure", "verify"}
"""Modules that two rooms have, each for its own: the notebooks' and the archive's."""


def names(path: Path) -> Iterator[tuple[str, str]]:
    """The public names that a module brings, and what each is."""
    if not path.stem.startswith("_") and "cli" not in path.parts:  # there a module is called as its command
        yield path.stem, "module"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("_"):
            yield node.name, "function"
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, "class"


def double(package: Path = PACKAGE) -> dict[str, list[str]]:
    """Names that stand for two things, and for which. A module may be called as the one thing that it holds."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in sorted(package.rglob("*.py")):
        where = str(path.relative_to(package))
        for name, kind in names(path):
            found[name][f"{kind} in {where}" if kind != "module" else f"module {where}"] = where
    return {
        name: list(places)
        for name, places in sorted(found.items())
        if len(set(places.values())) > 1 and name not in BY_PROTOCOL | BY_DESIGN
    }


if __name__ == "__main__":
    for name, places in double().items():
        sys.stdout.write(f"{name}: {'; '.join(places)}\n")

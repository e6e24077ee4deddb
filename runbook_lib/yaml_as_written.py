"""YAML as people write parameters in it: a value is what is written, and no name stands twice.

YAML 1.1 reads `0012` as the octal number 10, `1:30` as 90, `1_000` as 1000 and `2026-01-01` as a date. Where a service
user or a certificate is called that, the run would be another's. Here only what is written as the number is a number,
and the rest is text, as with `-p NAME VALUE`. `true`, `no` and the like are truth values, as ever: where text is due,
they are refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, SequenceNode

from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one reads 5,000 accounts in a tenth of the time
_GUESSED = {f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp")}


class _Loader(_BASE):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {
        first: [(tag, pattern) for tag, pattern in known if tag not in _GUESSED]
        for first, known in _BASE.yaml_implicit_resolvers.items()
    }


_FIRST = list("-0123456789")
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(0|[1-9][0-9]*)\Z"), _FIRST)
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"-?(0|[1-9][0-9]*)\.[0-9]+\Z"), _FIRST)


def read(path: Path, content: str) -> tuple[Any, Node | None]:
    """What a YAML file holds, and its node, which knows the lines; None and None for an empty one.

    Raises:
        RunbookError: BAD_PARAMETER where it is no YAML, or a name stands twice in one mapping.
    """
    loader = _Loader(content)
    try:
        node = loader.get_single_node()
        _no_name_twice(path, node)
        return (loader.construct_document(node) if node else None), node
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        tab = mark is not None and any("\t" in line for line in content.split("\n")[mark.line : mark.line + 1])
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{path} is not YAML{where}.",
            remedy="Indent with spaces: there is a tab in that line, which YAML does not take for one."
            if tab
            else None,
        ) from None
    finally:
        loader.dispose()


def _no_name_twice(path: Path, node: Node | None) -> None:
    """PyYAML takes the last of two equal keys and says nothing."""
    if isinstance(node, MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if str(key.value) in seen:
                raise RunbookError(
                    Reason.BAD_PARAMETER,
                    f"{path}, line {line}: `{key.value}` is there already, in line {seen[str(key.value)]}.",
                    remedy="Keep one of the two.",
                )
            seen[str(key.value)] = line
            _no_name_twice(path, value)
    elif isinstance(node, SequenceNode):
        for item in node.value:
            _no_name_twice(path, item)

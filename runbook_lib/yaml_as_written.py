"""YAML for parameters: a value is what is written, and no name occurs twice.

YAML 1.1 reads `0012` as the octal number 10, `1:30` as 90, `1_000` as 1000 and `2026-01-01` as a date. If a service
user or a certificate has such a name, the run would work on another one. Here only the usual spelling of a number is a
number and the rest is text, as with `-p NAME VALUE`. `true`, `no` and the like remain truth values: a parameter that
must be text refuses them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from runbook_lib import given
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError

_BASE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one reads 5,000 accounts in a tenth of the time
_TAG = "tag:yaml.org,2002:"
_GUESSED = {_TAG + kind for kind in ("int", "float", "timestamp")}
_KINDS: dict[type[Node], tuple[str, ...]] = {
    ScalarNode: ("str", "int", "float", "bool", "null", "merge"),
    SequenceNode: ("seq",),
    MappingNode: ("map",),
}
_DEEPEST, _MOST_NODES = 50, 2_000_000
_DEEPEST_SEEN = 2_000
_BEGINS = re.compile(r"^[-?: \t]+", re.MULTILINE)
_TRUTHS = "true, false, yes, no, on or off"


class _Loader(_BASE):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {
        first: [(tag, pattern) for tag, pattern in known if tag not in _GUESSED]
        for first, known in _BASE.yaml_implicit_resolvers.items()
    }


class _Number:
    """In place of a pattern: it matches what `given.number` reads as a number of this type."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def match(self, text: str) -> bool:
        try:
            return isinstance(given.number(text), self._kind)
        except ValueError:
            return True  # `_check_scalar` reports it, with its line


for _kind in (int, float):
    _Loader.add_implicit_resolver(_TAG + _kind.__name__, _Number(_kind), list("-0123456789"))
    _Loader.add_constructor(_TAG + _kind.__name__, lambda _, node: given.number(node.value))


class _WrongError(Exception):
    """A fault in the line of a node, and its remedy."""

    def __init__(self, node: Node, what: str, remedy: str) -> None:
        super().__init__(what)
        self.line, self.what, self.remedy = node.start_mark.line + 1, what, remedy


def read_yaml_file(path: Path) -> tuple[Any, Node | None]:
    """As `read_yaml`, from a file. Raises RunbookError: BAD_PARAMETER, also if it cannot be read or is not UTF-8."""
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RunbookError(Reason.BAD_PARAMETER, f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise RunbookError(
            Reason.BAD_PARAMETER, f"{path}, line {line}: not UTF-8 text.", remedy="Save it as UTF-8 text."
        ) from None
    return read_yaml(path, content)


def read_yaml(path: Path, content: str) -> tuple[Any, Node | None]:
    """The content of a YAML file and its node, which knows the lines; None and None for an empty file.

    Names are text. Values are text, numbers, truth values, nothing, and lists and mappings of these.

    Raises:
        RunbookError: BAD_PARAMETER if it is not YAML, a mapping has a name twice, or a value is of another kind.
    """
    _refuse_deep(path, content)
    loader = None
    try:
        loader = _Loader(content)
        node = loader.get_single_node()
        if node is not None:
            _check(node, {}, 0)
        return (loader.construct_document(node) if node else None), node
    except _WrongError as wrong:
        raise RunbookError(
            Reason.BAD_PARAMETER, f"{path}, line {wrong.line}: {wrong.what}.", remedy=wrong.remedy
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        tab = mark is not None and any("\t" in line for line in content.split("\n")[mark.line : mark.line + 1])
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{path} is not YAML{where}.",
            remedy="Indent with spaces: that line contains a tab, which YAML does not accept." if tab else None,
        ) from None
    finally:
        if loader is not None:
            loader.dispose()


def _refuse_deep(path: Path, content: str) -> None:
    """Refuse deep nesting: PyYAML's composer recurses in C, so a file of brackets or dashes would crash the process.

    No block is deeper than the start of its line, and no flow collection deeper than its brackets.
    """
    brackets = content.count("[") + content.count("{")
    if brackets > _DEEPEST_SEEN:  # most may be closed again
        depth = brackets = 0
        for char in content:
            depth += (char in "[{") - (char in "]}")
            brackets = max(brackets, depth)
    begins = max((len(found) for found in _BEGINS.findall(content)), default=0)
    if max(brackets, begins) > _DEEPEST_SEEN:
        raise RunbookError(Reason.BAD_PARAMETER, f"{path} has more than {_DEEPEST} levels.")


def _check(node: Node, sizes: dict[int, int], depth: int) -> int:
    """Refuse what PyYAML accepts and nobody means. Returns the number of values, counting each repetition."""
    if depth > _DEEPEST:
        raise _WrongError(node, f"more than {_DEEPEST} levels", "Write it with fewer.")
    known = sizes.get(id(node))
    if known == 0:
        raise _WrongError(node, "a value that contains itself (`*`)", "Write the value out.")
    if known is not None:
        return known
    sizes[id(node)] = 0
    if node.tag.removeprefix(_TAG) not in _KINDS[type(node)]:
        raise _WrongError(
            node,
            f"{given.shown(node.tag.replace(_TAG, '!!'))} is not accepted here",
            "Write text in quotes, a number, true, false, a list or `name: value` lines.",
        )
    size = 1
    if isinstance(node, MappingNode):
        _check_names(node)
        size += sum(_check(part, sizes, depth + 1) for pair in node.value for part in pair)
    elif isinstance(node, SequenceNode):
        size += sum(_check(item, sizes, depth + 1) for item in node.value)
    elif isinstance(node, ScalarNode):
        _check_scalar(node)
    if size > _MOST_NODES:
        raise _WrongError(node, f"more than {_MOST_NODES:,} values, counting what `*` repeats", "Write fewer.")
    sizes[id(node)] = size
    return size


def _check_scalar(node: ScalarNode) -> None:
    kind = node.tag.removeprefix(_TAG)
    try:
        given.text(node.value)
        fits = {"int": int, "float": float}.get(kind)
        if fits is not None and not isinstance(given.number(node.value), fits):
            raise ValueError(f"{given.shown(node.value)} is not written as a number")
    except ValueError as error:
        raise _WrongError(node, str(error), "Correct the value.") from None
    if kind == "bool" and node.value.lower() not in _Loader.bool_values:
        raise _WrongError(node, f"{given.shown(node.value)} is not a truth value", f"Write one of {_TRUTHS}.")


def _check_names(node: MappingNode) -> None:
    """Refuse what PyYAML accepts silently: a repeated key, and `on:` or `1:`, which it does not read as names."""
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise _WrongError(key, "a list or mapping in place of a name", "Write `name: value`.")
        if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            read_as = {"bool": "a truth value", "null": "nothing"}.get(key.tag.removeprefix(_TAG), "a number")
            name = _name(key.value)
            raise _WrongError(key, f"YAML reads the name `{name}` as {read_as}", f'Write the name in quotes: "{name}":')
        if key.value in seen:
            raise _WrongError(key, f"`{_name(key.value)}` is already in line {seen[key.value]}", "Keep one of the two.")
        seen[key.value] = line


def _name(name: str) -> str:
    """A name as an error may quote it."""
    return given.shown(name).strip("'")

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
_TRUTHS = "true, false, yes, no, on and off"


class _Loader(_BASE):  # type: ignore[misc]
    yaml_implicit_resolvers: ClassVar[dict[str, list[Any]]] = {
        first: [(tag, pattern) for tag, pattern in known if tag not in _GUESSED]
        for first, known in _BASE.yaml_implicit_resolvers.items()
    }


class _Number:
    """In place of a pattern: it matches what `given.number` takes for a number of that type."""

    def __init__(self, kind: type) -> None:
        self._kind = kind

    def match(self, text: str) -> bool:
        try:
            return isinstance(given.number(text), self._kind)
        except ValueError:
            return True  # told with its line, by `_check_scalar`


for _kind in (int, float):
    _Loader.add_implicit_resolver(_TAG + _kind.__name__, _Number(_kind), list("-0123456789"))
    _Loader.add_constructor(_TAG + _kind.__name__, lambda _, node: given.number(node.value))


class _WrongError(Exception):
    """What is wrong, and the remedy, of the line of a node."""

    def __init__(self, node: Node, what: str, remedy: str) -> None:
        super().__init__(what)
        self.line, self.what, self.remedy = node.start_mark.line + 1, what, remedy


def read_yaml_file(path: Path) -> tuple[Any, Node | None]:
    """As `read`, of a file. Raises RunbookError: BAD_PARAMETER, also where it cannot be read or is not UTF-8 text."""
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
    """What a YAML file holds, and its node, which knows the lines; None and None for an empty one.

    Names are text, and values are text, numbers, truth values, nothing, lists and mappings of these.

    Raises:
        RunbookError: BAD_PARAMETER where it is no YAML, a name stands twice in one mapping, or a value is not of these.
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
            remedy="Indent with spaces: there is a tab in that line, which YAML does not take for one."
            if tab
            else None,
        ) from None
    finally:
        if loader is not None:
            loader.dispose()


def _refuse_deep(path: Path, content: str) -> None:
    """PyYAML's composer calls itself for each level, in C: a file of brackets or dashes would end the process.

    No block is deeper than what its line begins with, and no flow deeper than its brackets.
    """
    brackets = content.count("[") + content.count("{")
    if brackets > _DEEPEST_SEEN:  # most are closed again
        depth = brackets = 0
        for char in content:
            depth += (char in "[{") - (char in "]}")
            brackets = max(brackets, depth)
    begins = max((len(found) for found in _BEGINS.findall(content)), default=0)
    if max(brackets, begins) > _DEEPEST_SEEN:
        raise RunbookError(Reason.BAD_PARAMETER, f"{path} has more than {_DEEPEST} levels.")


def _check(node: Node, sizes: dict[int, int], depth: int) -> int:
    """Refuse what PyYAML takes and nobody means. Returns how many values there are, each as often as it is repeated."""
    if depth > _DEEPEST:
        raise _WrongError(node, f"more than {_DEEPEST} levels", "Write it with fewer.")
    known = sizes.get(id(node))
    if known == 0:
        raise _WrongError(node, "a value that holds itself (`*`)", "Write the value out.")
    if known is not None:
        return known
    sizes[id(node)] = 0
    if node.tag.removeprefix(_TAG) not in _KINDS[type(node)]:
        raise _WrongError(
            node,
            f"{given.shown(node.tag.replace(_TAG, '!!'))} is not read here",
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
        raise _WrongError(node, f"more than {_MOST_NODES:,} values, with all that `*` repeats", "Write fewer.")
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
        raise _WrongError(node, f"{given.shown(node.value)} is not a truth value", f"YAML has {_TRUTHS}.")


def _check_names(node: MappingNode) -> None:
    """PyYAML takes the last of two equal keys and says nothing; `on:` and `1:` it takes for other things than names."""
    seen: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode):
            raise _WrongError(key, "a list or mapping stands where a name is expected", "Write `name: value`.")
        if key.tag not in (f"{_TAG}str", f"{_TAG}merge"):
            read_as = {"bool": "a truth value", "null": "nothing"}.get(key.tag.removeprefix(_TAG), "a number")
            name = _name(key.value)
            raise _WrongError(
                key, f"YAML reads the name `{name}` as {read_as}", f'If that is its name, write it in quotes: "{name}":'
            )
        if key.value in seen:
            raise _WrongError(
                key, f"`{_name(key.value)}` is there already, in line {seen[key.value]}", "Keep one of the two."
            )
        seen[key.value] = line


def _name(name: str) -> str:
    """A name as an error may repeat it."""
    return given.shown(name).strip("'")

"""Reads a notebook as papermill does: repairs what the format does not allow, reports it and goes on.

nbformat only logs what is invalid, and papermill goes on. A validator that refuses would stop notebooks that run
everywhere else, and would lose the report of a run whose kernel sent an invalid output.
"""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import nbformat
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME
from nbformat import NBFormatError, NotebookNode
from nbformat.corpus.words import generate_corpus_id
from nbformat.validator import iter_validate, normalize

from runbook_lib.words import quantity

_MOST = 20
"""Repairs that are listed one by one."""

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OF_NOTEBOOK = {"metadata", "nbformat", "nbformat_minor", "cells"}
_OF_CELL = {"id", "cell_type", "metadata", "source"}
_OF_KIND = {"code": {"outputs", "execution_count"}, "markdown": {"attachments"}, "raw": {"attachments"}}
_OF_OUTPUT: dict[str, dict[str, Any]] = {
    "stream": {"name": "stdout", "text": ""},
    "display_data": {"data": {}, "metadata": {}},
    "execute_result": {"data": {}, "metadata": {}, "execution_count": None},
    "error": {"ename": "", "evalue": "", "traceback": []},
}


def read_notebook(content: bytes, *, executed: bool = False) -> tuple[NotebookNode, tuple[str, ...]]:
    """Read a notebook file in the newest format, valid; and list what was repaired.

    Args:
        executed: papermill executed it. The outputs of any other notebook are dropped: they are no evidence.

    Raises:
        ValueError, KeyError and others, as nbformat does, for a file that papermill cannot read either.
    """
    text, mended = content.decode("utf-8", "surrogatepass"), list[str]()
    if text.startswith("\ufeff"):
        text = text[1:]
        mended.append("removed byte order mark")
    raw = json.loads(text)
    if not isinstance(raw, dict):
        raise NBFormatError("not a JSON object")
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        if raw.get("nbformat") != 4:
            raw = nbformat.reads(text, as_version=4)
        mended += _mend(raw, executed=executed)
        nb: NotebookNode = nbformat.versions[4].to_notebook_json(raw, minor=raw["nbformat_minor"])
        nb = nbformat.v4.upgrade(nb) or nb
        if any(iter_validate(nb)):
            changes, nb = normalize(nb, strip_invalid_metadata=True)
            entries = quantity(changes, "invalid metadata entry", "invalid metadata entries")
            mended += [f"removed {entries}"] if changes else []
            mended += [f"not repaired: {error.message[:100]}" for error in iter_validate(nb)]
    more = [f"and {len(mended) - _MOST} more"] if len(mended) > _MOST else []
    return nb, (*mended[:_MOST], *more)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence nbformat's log of what is repaired here."""
    log = logging.getLogger("traitlets")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _mend(raw: dict[str, Any], *, executed: bool) -> Iterator[str]:
    """Add what the format requires, remove what it does not allow, and report both. Raises NBFormatError."""
    if not isinstance(raw.get("cells"), list):
        raise NBFormatError("no list of cells")
    minor = raw.get("nbformat_minor")
    if not isinstance(minor, int) or minor < 0:
        raw["nbformat_minor"] = 4
        yield "set the format's minor version to 4"
    if not isinstance(raw.get("metadata"), dict):
        raw["metadata"] = {}
        yield "added metadata"
    for name in sorted(set(raw) - _OF_NOTEBOOK):
        del raw[name]
        yield f"removed unknown `{name[:60]}`"
    yield from _mend_kernel(raw["metadata"])
    seen: set[str] = set()
    for number, cell in enumerate(raw["cells"], 1):
        if not isinstance(cell, dict):
            raise NBFormatError(f"cell {number} is not a JSON object")
        if not executed and cell.get("cell_type") == "code":
            cell |= {"outputs": [], "execution_count": None}
        yield from (f"cell {number}: {what}" for what in _mend_cell(cell, seen, raw["nbformat_minor"]))


def _mend_kernel(metadata: dict[str, Any]) -> Iterator[str]:
    """papermill needs the name of a kernel, and a language if there are parameters."""
    spec, language = metadata.get("kernelspec"), metadata.get("language_info")
    if language is not None and not (isinstance(language, dict) and isinstance(language.get("name"), str)):
        del metadata["language_info"]
        language = None
        yield "removed language without a name"
    if spec is None and language is not None and "python" not in language["name"].lower():
        return  # the kernel that should execute it is unknown
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str) or not spec["name"]:
        metadata["kernelspec"] = spec = {"name": NATIVE_KERNEL_NAME, "language": "python"}
        yield f"added kernel: {NATIVE_KERNEL_NAME}"
    if not isinstance(spec.get("display_name"), str):
        spec["display_name"] = spec["name"]
    if language is None and not isinstance(spec.get("language"), str) and spec["name"].startswith("python"):
        spec["language"] = "python"


def _mend_cell(cell: dict[str, Any], seen: set[str], minor: int) -> Iterator[str]:
    kind = cell.get("cell_type")
    if kind not in _OF_KIND:
        kind = cell["cell_type"] = "raw"
        yield "changed unknown type to raw"
    if not isinstance(cell.get("metadata"), dict):
        cell["metadata"] = {}
        yield "added metadata"
    tags = cell["metadata"].get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        cell["metadata"]["tags"] = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
        yield "removed tags that are not text"
    elif len(set(tags)) < len(tags) or any("," in tag for tag in tags):
        cell["metadata"]["tags"] = [tag for tag in dict.fromkeys(tags) if "," not in tag]
        yield "removed duplicate tags and tags with a comma"
    source = cell.get("source")
    if not isinstance(source, str) and not (isinstance(source, list) and all(isinstance(line, str) for line in source)):
        cell["source"] = "" if source is None else str(source)
        yield "added empty source" if source is None else "converted source to text"
    name = cell.get("id")
    if "id" in cell and (minor < 5 or not isinstance(name, str) or not _ID.fullmatch(name) or name in seen):
        yield "removed `id`: not allowed in this format" if minor < 5 else "replaced invalid or duplicate `id`"
        del cell["id"]
    if minor >= 5:
        seen.add(cell.setdefault("id", generate_corpus_id()))
    for name in sorted(set(cell) - _OF_CELL - _OF_KIND[kind]):
        del cell[name]
        yield f"removed unknown `{name[:60]}`"
    if "attachments" in cell and not _bundles(cell["attachments"]):
        del cell["attachments"]
        yield "removed invalid attachments"
    if kind == "code":
        if not isinstance(cell.get("outputs"), list):
            cell["outputs"] = []
            yield "added list of outputs"
        if not isinstance(cell.get("execution_count"), int | None):
            cell["execution_count"] = None
        cell.setdefault("execution_count", None)
        invalid = sum(_mend_output(output) for output in cell["outputs"] if isinstance(output, dict))
        invalid += len(cell["outputs"])
        cell["outputs"] = [output for output in cell["outputs"] if isinstance(output, dict)]
        if invalid := invalid - len(cell["outputs"]):
            yield f"repaired or removed {quantity(invalid, 'invalid output')}"


def _mend_output(output: dict[str, Any]) -> bool:
    """Make an output valid for its type, and return whether it changed. Without a known type, it becomes plain text."""
    kind = output.get("output_type")
    if not isinstance(kind, str) or kind not in _OF_OUTPUT:
        text = json.dumps(output)
        output.clear()
        output |= {"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}
        return True
    before = dict(output)
    for name in set(output) - _OF_OUTPUT[kind].keys() - {"output_type"}:
        del output[name]
    for name, default in _OF_OUTPUT[kind].items():
        value = output.get(name, default)
        if name in ("text", "ename", "evalue", "name"):
            value = _text(value) if value != "" or name != "name" else default
        elif name == "traceback":
            value = list(map(_text, value)) if isinstance(value, list) else [_text(value)]
        elif name == "data":
            value = {mime: _value(mime, part) for mime, part in value.items()} if isinstance(value, dict) else {}
        elif name == "metadata":
            value = value if isinstance(value, dict) else {}
        elif not isinstance(value, int | None):
            value = None
        output[name] = value
    return output != before


def _text(value: Any) -> str | list[str]:
    """Text, or a list of lines, which nbformat joins; anything else becomes JSON."""
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(line, str) for line in value)):
        return value
    return json.dumps(value)


def _value(mime: str, value: Any) -> Any:
    return value if re.fullmatch(r"application/(.*\+)?json", mime) else _text(value)


def _bundles(attachments: Any) -> bool:
    return isinstance(attachments, dict) and all(
        isinstance(bundle, dict) and all(isinstance(data, str | list) for data in bundle.values())
        for bundle in attachments.values()
    )

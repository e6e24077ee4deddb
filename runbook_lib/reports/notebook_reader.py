"""Reads a notebook as papermill does: what its format does not allow is mended, and said, and stops nothing.

nbformat only logs what is invalid, and papermill goes on. A validator that refuses would keep notebooks from running
that run everywhere else, and would lose the report of a run whose kernel sent an odd output.
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

_MOST = 20
"""So many mends are told one by one."""

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
    """A notebook file in the newest format, valid, and what had to be mended for it.

    Args:
        executed: by papermill; of any other the outputs are dropped, since they are no evidence.

    Raises:
        ValueError, KeyError and the like, as nbformat does, for what is no notebook to papermill either.
    """
    text, mended = content.decode("utf-8", "surrogatepass"), list[str]()
    if text.startswith("\ufeff"):
        text = text[1:]
        mended.append("a byte order mark before it")
    raw = json.loads(text)
    if not isinstance(raw, dict):
        raise NBFormatError("it is no JSON object")
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        if raw.get("nbformat") != 4:
            raw = nbformat.reads(text, as_version=4)
        mended += _mend(raw, executed=executed)
        nb: NotebookNode = nbformat.versions[4].to_notebook_json(raw, minor=raw["nbformat_minor"])
        nb = nbformat.v4.upgrade(nb) or nb
        if any(iter_validate(nb)):
            changes, nb = normalize(nb, strip_invalid_metadata=True)
            mended += [f"{changes} entries of metadata"] if changes else []
            mended += [f"not mended: {error.message[:100]}" for error in iter_validate(nb)]
    more = [f"and {len(mended) - _MOST} more"] if len(mended) > _MOST else []
    return nb, (*mended[:_MOST], *more)


@contextmanager
def _quiet() -> Iterator[None]:
    """nbformat logs what `read` mends."""
    log = logging.getLogger("traitlets")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _mend(raw: dict[str, Any], *, executed: bool) -> Iterator[str]:
    """Put in place what the format asks for, take out what it does not allow, and say so. Raises NBFormatError."""
    if not isinstance(raw.get("cells"), list):
        raise NBFormatError("it has no list of cells")
    minor = raw.get("nbformat_minor")
    if not isinstance(minor, int) or minor < 0:
        raw["nbformat_minor"] = 4
        yield "its format's minor version"
    if not isinstance(raw.get("metadata"), dict):
        raw["metadata"] = {}
        yield "no metadata"
    for name in sorted(set(raw) - _OF_NOTEBOOK):
        del raw[name]
        yield f"an unknown `{name[:60]}`"
    yield from _mend_kernel(raw["metadata"])
    seen: set[str] = set()
    for number, cell in enumerate(raw["cells"], 1):
        if not isinstance(cell, dict):
            raise NBFormatError(f"cell {number} is no JSON object")
        if not executed and cell.get("cell_type") == "code":
            cell |= {"outputs": [], "execution_count": None}
        yield from (f"cell {number}: {what}" for what in _mend_cell(cell, seen, raw["nbformat_minor"]))


def _mend_kernel(metadata: dict[str, Any]) -> Iterator[str]:
    """papermill needs a kernel's name, and a language where there are parameters."""
    spec, language = metadata.get("kernelspec"), metadata.get("language_info")
    if language is not None and not (isinstance(language, dict) and isinstance(language.get("name"), str)):
        del metadata["language_info"]
        language = None
        yield "a language without a name"
    if spec is None and language is not None and "python" not in language["name"].lower():
        return  # nobody knows what is to execute it
    if not isinstance(spec, dict) or not isinstance(spec.get("name"), str) or not spec["name"]:
        metadata["kernelspec"] = spec = {"name": NATIVE_KERNEL_NAME, "language": "python"}
        yield f"no kernel named: {NATIVE_KERNEL_NAME}"
    if not isinstance(spec.get("display_name"), str):
        spec["display_name"] = spec["name"]
    if language is None and not isinstance(spec.get("language"), str) and spec["name"].startswith("python"):
        spec["language"] = "python"


def _mend_cell(cell: dict[str, Any], seen: set[str], minor: int) -> Iterator[str]:
    kind = cell.get("cell_type")
    if kind not in _OF_KIND:
        kind = cell["cell_type"] = "raw"
        yield "an unknown type"
    if not isinstance(cell.get("metadata"), dict):
        cell["metadata"] = {}
        yield "no metadata"
    tags = cell["metadata"].get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        cell["metadata"]["tags"] = [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []
        yield "tags that are no text"
    elif len(set(tags)) < len(tags) or any("," in tag for tag in tags):
        cell["metadata"]["tags"] = [tag for tag in dict.fromkeys(tags) if "," not in tag]
        yield "tags twice, or with a comma"
    source = cell.get("source")
    if not isinstance(source, str) and not (isinstance(source, list) and all(isinstance(one, str) for one in source)):
        cell["source"] = "" if source is None else str(source)
        yield "no source" if source is None else "a source that is no text"
    name = cell.get("id")
    if "id" in cell and (minor < 5 or not isinstance(name, str) or not _ID.fullmatch(name) or name in seen):
        yield "an `id`, which its format does not allow" if minor < 5 else "an `id` that is no name of its own"
        del cell["id"]
    if minor >= 5:
        seen.add(cell.setdefault("id", generate_corpus_id()))
    for name in sorted(set(cell) - _OF_CELL - _OF_KIND[kind]):
        del cell[name]
        yield f"an unknown `{name[:60]}`"
    if "attachments" in cell and not _bundles(cell["attachments"]):
        del cell["attachments"]
        yield "attachments that are none"
    if kind == "code":
        if not isinstance(cell.get("outputs"), list):
            cell["outputs"] = []
            yield "no outputs"
        if not isinstance(cell.get("execution_count"), int | None):
            cell["execution_count"] = None
        cell.setdefault("execution_count", None)
        odd = sum(_mend_output(output) for output in cell["outputs"] if isinstance(output, dict))
        odd += len(cell["outputs"])
        cell["outputs"] = [output for output in cell["outputs"] if isinstance(output, dict)]
        if odd := odd - len(cell["outputs"]):
            yield f"{odd} outputs that its format does not allow"


def _mend_output(output: dict[str, Any]) -> bool:
    """Make an output one of its type; give whether it was none. What has no type is shown as plain text."""
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
            value = {mime: _value(mime, one) for mime, one in value.items()} if isinstance(value, dict) else {}
        elif name == "metadata":
            value = value if isinstance(value, dict) else {}
        elif not isinstance(value, int | None):
            value = None
        output[name] = value
    return output != before


def _text(value: Any) -> str | list[str]:
    """nbformat joins a list of lines; what is neither text nor that is shown as JSON."""
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        return value
    return json.dumps(value)


def _value(mime: str, value: Any) -> Any:
    return value if re.fullmatch(r"application/(.*\+)?json", mime) else _text(value)


def _bundles(attachments: Any) -> bool:
    return isinstance(attachments, dict) and all(
        isinstance(one, dict) and all(isinstance(data, str | list) for data in one.values())
        for one in attachments.values()
    )

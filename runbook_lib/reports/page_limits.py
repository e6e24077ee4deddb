"""How much of a notebook a page shows: everything, unless it takes minutes to draw and nobody would read it.

A part that is cut keeps its beginning and end, with a note about what is missing between them. run.ipynb is complete.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from nbformat import NotebookNode

from runbook_lib.words import quantity

TEXT = 1_000_000
MARKUP = {"text/html": 1_000_000, "text/markdown": 100_000, "image/svg+xml": 10_000_000}
PICTURE = 20_000_000
"""Most characters of one text, of one output's markup (a megabyte takes seconds to parse), and of one picture."""

OUTPUTS, CHARACTERS = 2_000, 40_000_000
"""Most outputs of a page, and most characters in them; those of HTML and Markdown count ten times. In a notebook with
more, each cell gets the same share."""

_DEAR = {"text/html": 10, "text/markdown": 10}

NOTE = ""
"""The MIME type of a note."""

Tell = Callable[[str, str], object]
"""A function that receives what the page does not show, and how much of it."""


def megabytes(characters: int) -> str:
    return f"{characters / 1e6:,.1f} MB"


def limit_note(what: str) -> NotebookNode:
    """An output that says what is missing."""
    note = f"Not shown: {what}; run.ipynb has all of it."
    return NotebookNode(output_type="display_data", data=NotebookNode({NOTE: note}), metadata=NotebookNode())


def cut(text: str, most: int = TEXT) -> tuple[str, int, str]:
    """The beginning of a text, how many characters are left out, and the end."""
    if len(text) <= most:
        return text, 0, ""
    return text[: most // 2], len(text) - most // 2 * 2, text[-(most // 2) :]


def fit(outputs: Iterable[NotebookNode], tell: Tell) -> Iterator[NotebookNode]:
    """Cut each output to what a page shows. The given outputs are not changed."""
    for output in outputs:
        if "data" in output:
            yield from _fit_data(output, tell)
        elif output.output_type == "error":
            yield from _pieces(output, "\n".join(map(str, output.traceback)), lambda text: {"traceback": [text]}, tell)
        else:
            yield from _pieces(output, output.get("text", ""), lambda text: {"text": text}, tell)


def _fit_data(output: NotebookNode, tell: Tell) -> Iterator[NotebookNode]:
    data = dict(output.data)
    for mime, value in output.data.items():
        most = MARKUP.get(mime, PICTURE if mime.startswith("image/") else None)
        if most is not None and _size(value) > most:
            del data[mime]
            tell(mime, megabytes(_size(value)))
            yield limit_note(f"{megabytes(_size(value))} of {mime}")
    kind = next((mime for mime in ("text/plain", "text/latex") if mime in data), "")
    if data.keys() <= {"text/plain", "text/latex"}:
        yield from _pieces(output, data.get(kind, ""), lambda text: {"data": NotebookNode({kind: text})}, tell)
    elif data:
        if "text/plain" in data:  # the description of a picture
            data["text/plain"] = cut(data["text/plain"])[0]
        yield NotebookNode({**output, "data": NotebookNode(data)})


def _pieces(output: NotebookNode, text: str, of: Callable[[str], dict[str, Any]], tell: Tell) -> Iterator[NotebookNode]:
    begins, left_out, ends = cut(text)
    if not left_out:
        if text:
            yield NotebookNode({**output, **of(text)})
        return
    tell("text", megabytes(left_out))
    yield NotebookNode({**output, **of(begins)})
    yield limit_note(f"{megabytes(left_out)} of text")
    yield NotebookNode({**output, **of(ends)})


def share(cells: list[NotebookNode], tell: Tell) -> None:
    """If the outputs are too many for a page, give each cell the same share. Changes `cells`."""
    showing = [cell for cell in cells if cell.get("outputs")]
    count = sum(len(cell.outputs) for cell in showing)
    if count <= OUTPUTS and sum(map(_cost, (output for cell in showing for output in cell.outputs))) <= CHARACTERS:
        return
    for cell in showing:
        cell.outputs = _shared(cell.outputs, OUTPUTS // len(showing), CHARACTERS // len(showing), tell)


def _shared(outputs: list[NotebookNode], count: int, characters: int, tell: Tell) -> list[NotebookNode]:
    if len(outputs) <= count and sum(map(_cost, outputs)) <= characters:
        return outputs
    begins = _affordable(outputs, count // 2, characters // 2)
    ends = _affordable(outputs[begins:][::-1], count // 2, characters // 2)
    middle = outputs[begins : len(outputs) - ends]
    what = f"{quantity(len(middle), 'output')}, {megabytes(sum(map(_characters, middle)))}"
    tell("outputs", what)
    return [*outputs[:begins], limit_note(what), *outputs[len(outputs) - ends :]]


def _affordable(outputs: list[NotebookNode], count: int, characters: int) -> int:
    """How many of the first outputs fit into a share."""
    for number, output in enumerate(outputs[:count]):
        characters -= _cost(output)
        if characters < 0:
            return number
    return min(count, len(outputs))


def _cost(output: NotebookNode) -> int:
    return sum(_size(value) * _DEAR.get(mime, 1) for mime, value in _texts(output))


def _characters(output: NotebookNode) -> int:
    return sum(_size(value) for _, value in _texts(output))


def _texts(output: NotebookNode) -> Iterator[tuple[str, Any]]:
    yield from output.get("data", {}).items()
    yield "", output.get("text", "")
    yield from (("", line) for line in output.get("traceback", ()))


def _size(value: Any) -> int:
    return len(value) if isinstance(value, str) else 0

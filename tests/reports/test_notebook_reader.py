"""A notebook that papermill runs also runs here: what its format does not allow is repaired and recorded."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest

from runbook_lib.clock import SystemClock
from runbook_lib.notebooks import find_notebook
from runbook_lib.reports import notebook_reader
from runbook_lib.reports.runrecord import Engine
from runbook_lib.runner import run_notebook
from tests.reports import reading

Edit = Callable[[dict[str, Any]], object]


def _code(source: str, **more: Any) -> dict[str, Any]:
    return {"cell_type": "code", "metadata": {}, "source": source, "outputs": [], "execution_count": None, **more}


def _notebook(edit: Edit = lambda nb: None) -> bytes:
    parameters = _code("x = 1", id="a")
    parameters["metadata"] = {"tags": ["parameters"]}
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nb: dict[str, Any] = {"cells": [parameters, _code("print(x)", id="b")], "metadata": {"kernelspec": spec}}
    nb |= {"nbformat": 4, "nbformat_minor": 5}
    edit(nb)
    return json.dumps(nb).encode()


def _in_cell(**more: Any) -> Edit:
    return lambda nb: nb["cells"][1].update(more)


def _without(name: str) -> Edit:
    return lambda nb: nb["cells"][1].pop(name)


V3 = {
    "metadata": {"name": "old"},
    "nbformat": 3,
    "nbformat_minor": 0,
    "worksheets": [
        {
            "metadata": {},
            "cells": [
                {"cell_type": "code", "collapsed": False, "input": ["x = 1"], "language": "python", "metadata": {}}
                | {"outputs": [{"output_type": "pyout", "prompt_number": 1, "text": ["1"], "metadata": {}}]},
                {"cell_type": "heading", "level": 2, "metadata": {}, "source": ["Old"]},
            ],
        }
    ],
}

ODD: dict[str, tuple[bytes, str]] = {
    "an id in 4.4": (
        _notebook(lambda nb: nb.update(nbformat_minor=4)),
        "cell 1: removed `id`: not allowed in this format",
    ),
    "an id in 4.0": (
        _notebook(lambda nb: nb.update(nbformat_minor=0)),
        "cell 1: removed `id`: not allowed in this format",
    ),
    "vscode": (_notebook(_in_cell(vscode={"languageId": "python"})), "cell 2: removed unknown `vscode`"),
    "collapsed": (_notebook(_in_cell(collapsed=True)), "cell 2: removed unknown `collapsed`"),
    "a long id": (_notebook(_in_cell(id="n" * 70)), "cell 2: replaced invalid or duplicate `id`"),
    "an odd id": (_notebook(_in_cell(id="a b")), "cell 2: replaced invalid or duplicate `id`"),
    "an id twice": (_notebook(_in_cell(id="a")), "cell 2: replaced invalid or duplicate `id`"),
    "no id": (_notebook(_without("id")), ""),
    "no metadata": (_notebook(_without("metadata")), "cell 2: added metadata"),
    "no metadata at all": (_notebook(lambda nb: nb.pop("metadata")), "added metadata"),
    "no kernel": (_notebook(lambda nb: nb["metadata"].pop("kernelspec")), "added kernel: python3"),
    "no language": (_notebook(lambda nb: nb["metadata"]["kernelspec"].pop("language")), ""),
    "no outputs": (_notebook(_without("outputs")), ""),
    "no count": (_notebook(_without("execution_count")), ""),
    "no source": (_notebook(_without("source")), "cell 2: added empty source"),
    "an output without metadata": (
        _notebook(_in_cell(outputs=[{"output_type": "display_data", "data": {"text/plain": 5}}])),
        "",
    ),
    "an unknown key on top": (_notebook(lambda nb: nb.update(signature="x")), "removed unknown `signature`"),
    "a collapsed that is text": (
        _notebook(lambda nb: nb["cells"][1]["metadata"].update(collapsed="yes")),
        "removed 1 invalid metadata entry",
    ),
    "a tag twice": (
        _notebook(lambda nb: nb["cells"][0]["metadata"].update(tags=["parameters", "parameters"])),
        "cell 1: removed duplicate tags and tags with a comma",
    ),
    "tags that are a word": (
        _notebook(lambda nb: nb["cells"][1]["metadata"].update(tags="mine")),
        "cell 2: removed tags that are not text",
    ),
    "an attachment of nothing": (
        _notebook(
            lambda nb: nb["cells"].append(
                {"cell_type": "markdown", "id": "m", "metadata": {}, "source": "m", "attachments": {"a.png": 5}}
            )
        ),
        "cell 3: removed invalid attachments",
    ),
    "a cell of another kind": (
        _notebook(lambda nb: nb["cells"].append({"cell_type": "heading"})),
        "changed unknown type to raw",
    ),
    "a later format": (_notebook(lambda nb: nb.update(nbformat_minor=9)), ""),
    "a byte order mark": (b"\xef\xbb\xbf" + _notebook(), "removed byte order mark"),
    "version 3": (json.dumps(V3).encode(), "added kernel: python3"),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_notebook_is_read_and_each_repair_is_reported(name: str) -> None:
    content, words = ODD[name]
    nb, mended = notebook_reader.read_notebook(content)
    nbformat.validate(nb)
    assert words in "\n".join(mended)
    assert bool(mended) == bool(words)
    assert "x = 1" in nb.cells[0].source


def test_a_tag_that_stands_twice_still_counts() -> None:
    nb, _ = notebook_reader.read_notebook(ODD["a tag twice"][0])
    assert nb.cells[0].metadata.tags == ["parameters"]


@pytest.mark.parametrize("name", ["an id in 4.4", "no metadata", "no kernel", "version 3"])
def test_an_odd_notebook_runs_and_its_digest_is_of_the_file(
    name: str, engine: Engine, archive: Path, tmp_path: Path
) -> None:
    content, words = ODD[name]
    (tmp_path / "odd.ipynb").write_bytes(content)
    given = {} if name == "version 3" else {"x": 2}
    outcome = run_notebook(
        tmp_path / "odd.ipynb", given, job="odd", archive=archive, clock=SystemClock(), engine=engine
    )
    record = reading.record(outcome.bag)
    assert (outcome.status.value, record["cells"]["executed"]) == ("done", 1 if name == "version 3" else 3)
    assert words in "\n".join(record["mended"])
    assert re.sub("`(.*?)`", r"<code>\1</code>", words) in reading.page(outcome.bag)
    assert record["notebook"]["sha256"] == hashlib.sha256(content).hexdigest()
    nbformat.validate(reading.notebook(outcome.bag))


@pytest.mark.parametrize("content", [b"{}", b"[]", b"3", b"", b'{"nbformat": 4}', b'{"nbformat": 9, "cells": []}'])
def test_what_papermill_does_not_read_either_is_no_notebook(content: bytes) -> None:
    with pytest.raises((ValueError, nbformat.ValidationError)):
        notebook_reader.read_notebook(content)


def test_a_notebook_may_have_a_long_name(tmp_path: Path) -> None:
    names = [f"{'certificates of the accounts ' * 4}{end}" for end in ("one", "two")]
    jobs = []
    for name in names:
        (tmp_path / f"{name}.ipynb").write_bytes(_notebook())
        jobs.append(find_notebook(str(tmp_path / f"{name}.ipynb"))[1])
    assert all(len(job) <= 63 for job in jobs)
    assert jobs[0] != jobs[1]

"""What an executed notebook says, as text, without what differs from run to run: for comparing two engines."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import nbformat

_TIMES = ("start_time", "end_time", "duration")
_WIDGETS = "application/vnd.jupyter.widget-state+json"


def told(nb: nbformat.NotebookNode, plain: Callable[[str], str]) -> str:
    """Everything but moments of execution, cell ids and paths. `plain` takes out of a text what may differ."""
    cells = []
    for cell in nb.cells:
        metadata = dict(cell.metadata)
        about, execution = metadata.pop("papermill", {}), metadata.pop("execution", {})
        cells.append(
            {
                "source": cell.source,
                "count": cell.get("execution_count"),
                "status": _without(about, *_TIMES),
                "times": [sorted(about), sorted(execution)],
                "metadata": metadata,
                "outputs": _merged(cell.get("outputs", [])),
            }
        )
    metadata = dict(nb.metadata)
    about = metadata.pop("papermill", {})
    widgets = metadata.pop("widgets", {}).get(_WIDGETS, {}).get("state", {})
    whole = {
        "metadata": metadata,
        "papermill": [sorted(about), _without(about, *_TIMES, "input_path", "output_path")],
        "widgets": sorted(
            (plain(json.dumps([one["model_name"], one["state"]], sort_keys=True)) for one in widgets.values()),
            key=_without_identifiers,
        ),
        "cells": cells,
    }
    return plain(json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False))


def difference(theirs: str, ours: str) -> str:
    """A unified diff of what stock papermill's kernel and the fork engine left; empty where they agree."""
    lines = difflib.unified_diff(theirs.splitlines(), ours.splitlines(), "papermill", "runbook", "", "", 2)
    return "\n".join(lines)


def _without_identifiers(text: str) -> str:
    """Widgets name one another by random ones."""
    return re.sub("[0-9a-f]{32}", "", text)


def _without(about: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in about.items() if name not in names}


def _merged(outputs: list[Any]) -> list[Any]:
    """The outputs with each stream's text in one piece: where it is cut is a matter of time."""
    found: list[Any] = []
    for one in outputs:
        before = next(
            (
                other
                for other in found
                if other["output_type"] == "stream" == one["output_type"] and other["name"] == one["name"]
            ),
            None,
        )
        if before is not None and found[-1]["output_type"] == "stream":
            before["text"] += one["text"]
        else:
            found.append(json.loads(json.dumps(one)))
    return found

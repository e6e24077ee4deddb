"""Reads a bag back, for the tests."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat
from jsonschema import Draft202012Validator
from nbformat import NotebookNode

from runbook_lib.reports.runrecord import SCHEMA


def record(bag: Path) -> dict[str, Any]:
    """run.json. It has every field of its published schema, and is valid."""
    found: dict[str, Any] = json.loads((bag / "data/run.json").read_text(encoding="utf-8"))
    assert found.keys() == schema()["properties"].keys()
    validator().validate(found)
    return found


@cache
def schema() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return found


@cache
def validator() -> Any:
    Draft202012Validator.check_schema(schema())
    return Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def page(bag: Path) -> str:
    return (bag / "data/report.html").read_text(encoding="utf-8")


def notebook(bag: Path) -> NotebookNode:
    found: NotebookNode = nbformat.read(bag / "data/run.ipynb", as_version=4)
    return found


def holds(folder: Path, secret: str) -> list[Path]:
    """The files below a folder that contain a secret in any spelling; independent of the scanner on purpose."""
    raw = secret.encode()
    spellings = {secret.replace('"', '""').encode(), secret.encode("utf-16-le"), repr(secret)[1:-1].encode()}
    spellings |= {raw, json.dumps(secret)[1:-1].encode(), quote(secret).encode(), raw.hex().encode()}
    spellings.add(
        secret.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;").encode()
    )
    for skip in range(3):
        inner = raw[skip:]
        spellings.add(base64.b64encode(inner[: len(inner) // 3 * 3]))
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and any(spelling in path.read_bytes() for spelling in spellings)
    ]

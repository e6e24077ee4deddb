"""Each way of hiding a secret, in each kind of file, is found or listed in docs/threat-model.md."""

from __future__ import annotations

import base64
import csv
import gzip
import html
import io
import json
import quopri
import secrets
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from runbook_lib.reports.scan import Scanner

SECRET = 'Zk4"pq\\7&<mX/9w%2+Tr' + "é"
OTHER = "Ab3-dEf_6hIj9kLm2nOp"
TOKEN = secrets.token_hex(13) + "_" + secrets.token_hex(30)


def _each(form: str) -> Callable[[str], str]:
    return lambda s: "".join(form.format(ord(c)) if ord(c) < 128 else c for c in s)


def _png(s: str) -> bytes:
    data = b"tEXtnote\0" + s.encode("latin-1", "replace")
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(data) - 4) + data + b"\0" * 4


def _zip(s: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.txt", "x" * 99 + s)
    return stream.getvalue()


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


WAYS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "JSON": json.dumps,
    "JSON, slashes escaped": lambda s: json.dumps(s).replace("/", "\\/"),
    "JSON in JSON in JSON": lambda s: json.dumps(json.dumps(json.dumps(s))),
    "JSON, all escaped": _each("\\u{:04x}"),
    "JSON, all escaped, capitals": _each("\\u{:04X}"),
    "JavaScript": _each("\\u{{{:x}}}"),
    "Python": repr,
    "Python's bytes": lambda s: repr(s.encode()),
    "Python, hexadecimal escapes": _each("\\x{:02x}"),
    "Python, long escapes": _each("\\U{:08x}"),
    "octal escapes": _each("\\{:03o}"),
    "HTML": html.escape,
    "HTML, decimal": _each("&#{};"),
    "HTML, decimal, zeros, no semicolon": _each("&#00{}"),
    "HTML, hexadecimal": _each("&#x{:x};"),
    "HTML, hexadecimal, capitals": _each("&#X{:X};"),
    "HTML in HTML": lambda s: html.escape(html.escape(s)),
    "JSON in HTML": lambda s: html.escape(json.dumps(s)),
    "XML in JSON": lambda s: json.dumps(_each("&#x{:x};")(s)),
    "named entities": lambda s: html.escape(s).replace("/", "&sol;").replace("+", "&plus;").replace("\\", "&bsol;"),
    "URL": lambda s: quote(s, safe=""),
    "URL, all of it": _each("%{:02x}"),
    "URL in URL": lambda s: quote(quote(s, safe=""), safe=""),
    "form": quote_plus,
    "form, old escapes": _each("%u{:04x}"),
    "quoted-printable": lambda s: quopri.encodestring(s.encode()).decode(),
    "quoted-printable, all of it": _each("={:02X}"),
    "quoted-printable, wrapped": lambda s: s[:6] + "=\r\n" + s[6:],
    "CSV": lambda s: '"' + s.replace('"', '""') + '"',
    "Markdown": lambda s: "".join(f"\\{c}" if not c.isalnum() else c for c in s),
    "base64": lambda s: _b64(s.encode()),
    "base64 after one byte": lambda s: _b64(b"x" + s.encode()),
    "base64 after two bytes": lambda s: _b64(b"xx" + s.encode() + b"y"),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64, wrapped": lambda s: base64.encodebytes(b"x" * 50 + s.encode()).decode(),
    "base64, escaped for a URL": lambda s: quote(_b64(s.encode()), safe=""),
    "base64 of UTF-16": lambda s: _b64(s.encode("utf-16")),
    "base64 of JSON": lambda s: _b64(json.dumps({"api_key": s, "more": "x" * 20}).encode()),
    "base64 of a PNG's text": lambda s: _b64(_png(s)),
    "base64 of gzip": lambda s: _b64(gzip.compress(f"<svg>{s}</svg>".encode())),
    "base64 of zip": lambda s: _b64(_zip(s)),
    "base64 of a PNG's compressed text": lambda s: _b64(b"x" * 40 + b"zTXtnote\0\0" + zlib.compress(s.encode())),
    "hexadecimal": lambda s: s.encode().hex(),
    "hexadecimal, capitals": lambda s: s.encode().hex().upper(),
    "hexadecimal with colons": lambda s: s.encode().hex(":"),
    "hexadecimal with spaces": lambda s: s.encode().hex(" "),
    "hexadecimal of UTF-16": lambda s: s.encode("utf-16-le").hex(),
    "a list of bytes": lambda s: str(list(s.encode())),
    "a list of bytes, hexadecimal": lambda s: ", ".join(f"0x{b:02X}" for b in s.encode()),
    "small letters": str.lower,
    "capitals": lambda s: s.upper(),
    "wrapped": lambda s: s[:8] + "\n" + s[8:],
    "wrapped with a backslash": lambda s: s[:8] + "\\\n    " + s[8:],
    "a character a line": "\n".join,
    "spaced": " ".join,
    "strings added": lambda s: f'"{s[:7]}" + "{s[7:]}"',
    "soft hyphens": "\u00ad".join,
    "no width between": "\u200b".join,
    "byte order marks between": "\ufeff".join,
    "colours": lambda s: f"{s[:8]}\x1b[31m{s[8:]}\x1b[0m",
    "colours, escaped": lambda s: json.dumps(f"{s[:8]}\x1b[1;31m{s[8:]}"),
    "tags": lambda s: f"<b>{html.escape(s[:8])}</b><i class='x'>{html.escape(s[8:])}</i>",
    "a terminal's link": lambda s: f"\x1b]8;;http://x\x1b\\{s}\x1b]8;;\x1b\\",
}


def _notebook(text: str) -> bytes:
    output = new_output("stream", text=f"before {text} after\n")
    return str(nbformat.writes(new_notebook(cells=[new_code_cell("1", outputs=[output])]))).encode("utf-8")


def _csv(text: str) -> bytes:
    stream = io.StringIO()
    csv.writer(stream).writerows([["a", "b"], ["1", text]])
    return stream.getvalue().encode()


KINDS: dict[str, Callable[[str], bytes]] = {
    "run.ipynb": _notebook,
    "report.html": lambda text: f"<!doctype html><td>{html.escape(text)}</td>".encode(),
    "run.json": lambda text: json.dumps({"what": text}, indent=2).encode(),
    "tables/a.csv": _csv,
    "papermill.log": lambda text: f"log: {text}\n".encode(),
    "log in UTF-16": lambda text: f"log: {text}\n".encode("utf-16"),
    "log in UTF-16, no mark": lambda text: f"log: {text}\n".encode("utf-16-be"),
    "log in UTF-32": lambda text: f"log: {text}\n".encode("utf-32"),
}


def _found(secret: str, content: bytes) -> set[str]:
    return Scanner(("env:S",), {"S": secret}).labels_in(content)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_found_in_every_kind_of_file(way: str) -> None:
    assert len(WAYS) * len(KINDS) >= 100
    for secret in (SECRET, OTHER):
        hidden = WAYS[way](secret)
        missed = [kind for kind, file in KINDS.items() if "env:S" not in _found(secret, file(hidden))]
        assert missed == []
        assert all(_found("Qy5-" + secret[::-1], file(hidden)) == set() for file in KINDS.values())


LOOKS = [way for way in WAYS if not way.startswith(("capitals", "hexadecimal", "a list"))]
"""In the other ways, only the value of a known token is found: docs/threat-model.md."""


@pytest.mark.parametrize("way", LOOKS)
def test_a_token_that_nobody_named_is_found_by_its_look(way: str) -> None:
    assert "DigiCert API token" in Scanner((), {}).labels_in(f"key: {WAYS[way](TOKEN)} .")


NOT_CLAIMED: dict[str, Callable[[str], str]] = {
    "reversed": lambda s: s[::-1],
    "ROT13": lambda s: s.translate(str.maketrans("ABCDEFGHIJKLMabcdefghijklm", "NOPQRSTUVWXYZnopqrstuvwxyz")),
    "base32": lambda s: base64.b32encode(s.encode()).decode(),
    "base85": lambda s: base64.b85encode(s.encode()).decode(),
    "base64 of base64": lambda s: _b64(_b64(s.encode()).encode()),
    "between other letters": "x".join,
    "encrypted": lambda s: bytes(b ^ 90 for b in s.encode()).hex(),
}


@pytest.mark.parametrize("way", NOT_CLAIMED)
def test_what_is_not_found_is_said(way: str) -> None:
    assert _found(OTHER, NOT_CLAIMED[way](OTHER).encode()) == set()
    told = (Path(__file__).parents[2] / "docs/threat-model.md").read_text(encoding="utf-8")
    assert way in " ".join(told.split())


def _cells(*outputs: list[str], source: str = "1") -> Any:
    cells = [
        new_code_cell(source, outputs=[new_output("stream", name="stdout", text=text) for text in some])
        for some in outputs
    ]
    return new_notebook(cells=cells)


SPLIT: dict[str, nbformat.NotebookNode] = {
    "two outputs": _cells([OTHER[:9], OTHER[9:]]),
    "two cells' outputs": _cells([OTHER[:9]], [OTHER[9:]], source="print(2)"),
    "a character an output": _cells(list(OTHER)),
    "behind a long output": _cells(["y " * 9000 + OTHER[:9], OTHER[9:] + " y" * 9000]),
    "two cells' sources": new_notebook(cells=[new_code_cell(f"a = '{OTHER[:9]}'"), new_code_cell(OTHER[9:])]),
    "source and output": new_notebook(cells=[new_code_cell(OTHER[:9], outputs=[new_output("stream", text=OTHER[9:])])]),
    "standard error between": new_notebook(
        cells=[
            new_code_cell(
                "1",
                outputs=[
                    new_output("stream", name="stdout", text=OTHER[:9]),
                    new_output("stream", name="stderr", text="a warning"),
                    new_output("stream", name="stdout", text=OTHER[9:]),
                ],
            )
        ]
    ),
    "a traceback": new_notebook(
        cells=[
            new_code_cell("1", outputs=[new_output("error", ename="E", evalue="", traceback=[OTHER[:9], OTHER[9:]])])
        ]
    ),
    "a key of the metadata": new_notebook(metadata={OTHER: True}),
    "an attachment's name": new_notebook(cells=[new_code_cell("1", metadata={"attachments": {OTHER: {}}})]),
}


@pytest.mark.parametrize("place", SPLIT)
def test_it_is_found_where_a_reader_puts_it_together(place: str) -> None:
    nb = SPLIT[place]
    scanner = Scanner(("env:S",), {"S": OTHER})
    assert {one.what for one in scanner.in_notebook("run.ipynb", nb, nbformat.writes(nb))} == {"env:S"}
    changed = nbformat.reads(nbformat.writes(nb).replace(OTHER[10:], "x" + OTHER[11:]), as_version=4)
    if OTHER[9:] in nbformat.writes(nb) and place != "a character an output":
        assert scanner.in_notebook("run.ipynb", changed, nbformat.writes(changed)) == []


def test_a_file_s_name_is_searched_and_not_repeated() -> None:
    found = Scanner(("env:S",), {"S": OTHER}).in_file(f"tables/{OTHER.lower()}.csv", b"a\r\n")
    assert [(one.file, one.what) for one in found] == [("a file's name", "env:S")]


def test_the_environment_s_own_secrets_are_searched_for_without_being_named() -> None:
    scanner = Scanner((), {"DIGICERT_ONE_P12_PASSWORD": OTHER, "DIGICERT_ONE_URL": "https://one.example"})
    assert scanner.labels_in(f"it is {OTHER}") == {"env:DIGICERT_ONE_P12_PASSWORD"}
    assert scanner.labels_in("https://one.example") == set()


def test_many_secrets_are_told_apart() -> None:
    values = {f"S{number}": secrets.token_urlsafe(24) for number in range(300)}
    scanner = Scanner(tuple(f"env:{name}" for name in values), values)
    text = "nothing " * 50_000
    assert scanner.labels_in(text) == set()
    assert scanner.labels_in(text + _b64(values["S7"].encode()) + values["S9"].upper()) == {"env:S7", "env:S9"}

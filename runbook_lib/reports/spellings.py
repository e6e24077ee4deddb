"""Undoes the spellings in which a file can contain a text, so that a secret is searched for in only one.

Each format writes a text in its own way: JSON, HTML, CSV, a URL, Python's `repr`, UTF-16, base64, hexadecimal; colours,
tags and line breaks come between. None of these changes the order of letters and digits. So every spelling is undone,
and only letters and digits are compared: the text's *bones*.
"""

from __future__ import annotations

import binascii
import html.entities
import re
import zlib
from collections.abc import Iterator

_ALPHABET = bytes(byte for byte in range(128) if chr(byte).isalnum())

# base64 uses `+` and `/`, or `-` and `_` in URLs: both have the same bones
_NOT_BONES = bytes(byte for byte in range(256) if byte not in _ALPHABET + b"_/")
_TO_BONES = bytes.maketrans(b"/", b"_")


def bones(data: bytes) -> bytes:
    """The ASCII letters, digits and `_` of a text, in order; the same for UTF-8, UTF-16 and UTF-32."""
    return data.translate(_TO_BONES, _NOT_BONES)


_HEX = rb"[0-9A-Fa-f]"
_ESCAPE = re.compile(
    rb"\\(?:u(%(h)b{4})|u\{(%(h)b{1,6})\}|x(%(h)b{2})|U(%(h)b{8})|([0-3][0-7]{2}))"
    rb"|%%(?:u(%(h)b{4})|(%(h)b{2}))"
    rb"|&(?:#0*([0-9]{1,7})|#[xX](%(h)b{1,8})|([A-Za-z][A-Za-z0-9]{1,30}));?" % {b"h": _HEX}
)
_BASES = (16, 16, 16, 16, 8, 16, 16, 10, 16)
_OFTEN = {
    b"\\": ((b"\\n", b"\n"), (b"\\r", b"\r"), (b"\\t", b"\t"), (b'\\"', b'"')),
    b"&": (
        *((b"&quot;", b'"'), (b"&lt;", b"<"), (b"&gt;", b">"), (b"&#39;", b"'"), (b"&#x27;", b"'"), (b"&nbsp;", b" ")),
        (b"&amp;", b"&"),
    ),
    b"%": (),
}
"""The characters that begin an escape, and the frequent escapes, which are faster to undo first."""

_ESCAPED_AGAIN = re.compile(rb"&amp;[#A-Za-z&\\%]")
_TERMINAL = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)|[@-Z\\-_])")
_TAG = re.compile(rb"<[^<>]{0,2000}>")
_LEVELS = 4
"""How deep spellings can be nested: JSON in HTML in a notebook's JSON, and one more."""


class _Undo:
    """Undoes escapes, and remembers whether the result can begin another escape."""

    def __init__(self, data: bytes) -> None:
        self.nested = b"&amp;" in data and _ESCAPED_AGAIN.search(data) is not None

    def __call__(self, found: re.Match[bytes]) -> bytes:
        number = found.lastindex or 0
        text = found[number]
        if number > len(_BASES):
            named = html.entities.html5.get(f"{text.decode()};")
            if named is None:
                return found[0]
            self.nested = self.nested or named in ("&", "%", "\\")
            return named.encode("ascii", "ignore")
        code = int(text, _BASES[number - 1])
        self.nested = self.nested or code in (37, 38, 92)
        return bytes([code]) if code < 128 else b""


def unescaped(data: bytes) -> Iterator[bytes]:
    """The text with its escapes undone, again for escapes in escapes: each level that differs, the deepest last.

    Escaped characters that are not ASCII are left out.
    """
    if b"\0" in data:  # UTF-16 and UTF-32
        data = data.replace(b"\0", b"")
        yield data
    for _ in range(_LEVELS):
        before, undo = data, _Undo(data)
        marks = [mark for mark in _OFTEN if mark in data]
        for mark in marks:
            for written, meant in _OFTEN[mark]:
                data = data.replace(written, meant)
        if marks:
            data = _ESCAPE.sub(undo, data)
        if b"\x1b" in data:
            data = _TERMINAL.sub(b"", data)
        if data != before:
            yield data
        if not undo.nested:
            return


_LEAST_RUN = 40
_RUN = re.compile(rb"[A-Za-z0-9+/_-]{%d,}(?:\r?\n[A-Za-z0-9+/_-]{4,})*" % _LEAST_RUN)
_IN_A_RUN = bytes(120 if chr(byte) in "+/_-" or byte in _ALPHABET else 32 for byte in range(256))
_HEXADECIMAL = re.compile(rb"[0-9a-f]+|[0-9A-F]+")
_URLSAFE = bytes.maketrans(b"-_", b"+/")
_QUOTED_PRINTABLE = re.compile(rb"=(?:[0-9A-Fa-f]{2}|\r?\n)")


def decoded(data: bytes) -> Iterator[bytes]:
    """Longer runs of base64, decoded from each possible start; and the text decoded from quoted-printable."""
    found: tuple[list[bytes], ...] = ([], [], [], [])
    for run in _runs(data):
        text = run.translate(_URLSAFE, b"\r\n")
        if not _HEXADECIMAL.fullmatch(text):
            for start, pieces in enumerate(found):
                pieces.append(binascii.a2b_base64(text[start : start + (len(text) - start) // 4 * 4]))
    yield from (b"\n".join(pieces) for pieces in found if pieces)
    if _QUOTED_PRINTABLE.search(data):
        yield binascii.a2b_qp(data)


def _runs(data: bytes) -> Iterator[bytes]:
    """`_RUN.findall`, eight times as fast: it looks for the beginning of a run in a text of two letters."""
    alike = data.translate(_IN_A_RUN)
    at = 0
    while (at := alike.find(b"x" * _LEAST_RUN, at)) >= 0 and (found := _RUN.match(data, at)):
        yield found[0]
        at = found.end()


_PACKED = {b"\x1f\x8b\x08": 31, b"PK\x03\x04": -15, b"zTXt": 15, b"iTXt": 15}
"""The beginnings of compressed data, and zlib's `wbits` for each."""
_MOST_UNPACKED, _MOST_PIECES = 1 << 26, 1000


def unpacked(data: bytes) -> Iterator[bytes]:
    """Decompress gzip, the files of a zip archive and the texts of a PNG. At most 64 MiB in all."""
    if data.isascii() and b"\0" not in data:  # nothing compressed
        return
    left, pieces = _MOST_UNPACKED, 0
    for magic, window in _PACKED.items():
        found = data.find(magic)
        while found >= 0 and pieces < _MOST_PIECES and left > 0:
            start = found
            if magic[:2] == b"PK":
                head = data[start : start + 30]
                start += 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
            elif window == 15:
                start = data.find(b"\x78", start, start + 300)
            piece = _inflated(memoryview(data)[start:], window, left) if start >= 0 else b""
            if piece:
                yield piece
            left, pieces = left - len(piece), pieces + 1
            found = data.find(magic, found + 4)


def _inflated(data: memoryview, window: int, limit: int) -> bytes:
    engine, found = zlib.decompressobj(window), bytearray()
    for start in range(0, len(data), 1 << 16):
        try:
            found += engine.decompress(data[start : start + (1 << 16)], limit - len(found))
        except zlib.error:
            break
        if engine.eof or engine.unconsumed_tail or len(found) >= limit:
            break
    return bytes(found)


def spellings(data: bytes) -> Iterator[tuple[bytes, bool]]:
    """Everything that a file can say, as it is and with every spelling undone; and whether each part is text."""
    yield data, True
    last = data
    for last in unescaped(data):
        yield last, True
    if b"<" in last:
        yield _TAG.sub(b"", last), True
    yield from _opened(data)
    for part in decoded(last):
        yield part, False
        yield from _opened(part)


def _opened(data: bytes) -> Iterator[tuple[bytes, bool]]:
    for piece in unpacked(data):
        yield piece, True
        yield from ((text, True) for text in unescaped(piece))

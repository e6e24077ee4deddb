"""Makes text from elsewhere safe to read."""

from __future__ import annotations

import re


def visible(text: str) -> str:
    """Replace control and direction marks by visible escapes.

    Otherwise newlines, tabs and right-to-left marks in a server's value could make a report show another order or
    another line than the data has. The template escapes HTML afterwards.
    """
    # all direction marks are format characters (Unicode category Cf), which are never printable
    return text if text.isprintable() else _NOT_PLAIN.sub(_shown, text)


_NOT_PLAIN = re.compile(r"[^ -~]+")


def _shown(found: re.Match[str]) -> str:
    run = found[0]
    if len(run) == 1:  # by far the most common: a line end, or the start of a colour
        return _ESCAPES[ord(run)]
    return run if run.isprintable() else run.translate(_ESCAPES)


class _Escapes(dict[int, str]):
    """What each character is shown as; computed on first use."""

    LIMIT = 10_000

    def __missing__(self, code: int) -> str:
        if len(self) >= self.LIMIT:  # a text of all possible characters must not stay in memory
            self.clear()
        char = chr(code)
        shown = char if char.isprintable() else f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"
        self[code] = shown
        return shown


_ESCAPES = _Escapes()

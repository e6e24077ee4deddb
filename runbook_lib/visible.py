"""Text from elsewhere, made safe to read."""

from __future__ import annotations

import re


def visible(text: str) -> str:
    """Text from elsewhere, made safe to read: control and direction marks become visible escapes.

    Newlines, tabs and right-to-left marks in a server's value could otherwise make a report show another order or
    another line than the data holds. HTML escaping is the template's task and comes after this.
    """
    # all direction marks are format characters (Unicode category Cf), and none of these is printable
    return text if text.isprintable() else _NOT_PLAIN.sub(_shown, text)


_NOT_PLAIN = re.compile(r"[^ -~]+")


def _shown(found: re.Match[str]) -> str:
    run = found[0]
    if len(run) == 1:  # a line end, or the beginning of a colour: by far the most
        return _ESCAPES[ord(run)]
    return run if run.isprintable() else run.translate(_ESCAPES)


class _Escapes(dict[int, str]):
    """What each character is shown as; made when it is first met."""

    LIMIT = 10_000

    def __missing__(self, code: int) -> str:
        if len(self) >= self.LIMIT:  # a text of every character there is must not stay in memory
            self.clear()
        char = chr(code)
        shown = char if char.isprintable() else f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"
        self[code] = shown
        return shown


_ESCAPES = _Escapes()

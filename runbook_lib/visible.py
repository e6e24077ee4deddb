"""Text from elsewhere, made safe to read."""

from __future__ import annotations


def visible(text: str) -> str:
    """Text from elsewhere, made safe to read: control and direction marks become visible escapes.

    Newlines, tabs and right-to-left marks in a server's value could otherwise make a report show another order or
    another line than the data holds. HTML escaping is the template's task and comes after this.
    """
    return "".join(
        char
        if char.isprintable() and char not in _DIRECTION
        else f"\\u{ord(char):04x}"
        if ord(char) > 0xFF
        else f"\\x{ord(char):02x}"
        for char in text
    )


_DIRECTION = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

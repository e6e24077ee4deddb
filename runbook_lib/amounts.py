"""Numbers with their nouns."""

from __future__ import annotations


def amount(number: int, noun: str, plural: str = "") -> str:
    """`no rows`, `1 row`, `2,000 rows`. Give the plural if it is not the noun with an s."""
    several = plural or f"{noun}s"
    return f"no {several}" if number == 0 else f"{number:,} {noun if number == 1 else several}"

"""Where the commands write. Made when it is first used: rich takes longer to import than `--help` may take."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def out() -> Console:
    """Standard output, for what was asked for."""
    return _console(stderr=False)


@cache
def err() -> Console:
    """Standard error, for what is said about it."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


def visible(text: str) -> str:
    """As `runbook_lib.result.visible`."""
    from runbook_lib import result  # pydantic

    return result.visible(text)

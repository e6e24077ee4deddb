"""Where the commands write. Made when it is first used: rich takes longer to import than `--help` may take."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from runbook_lib.errors import RunbookError


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


def tell(error: RunbookError) -> None:
    """What went wrong, what it means and what to do, on standard error."""
    err().print(f"{error.explanation.title} [{error.reason.value}]", style="bold red")
    for line in str(error).splitlines():
        err().print(visible(line))

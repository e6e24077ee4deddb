"""The one exception of this project. It says what happened, what it means and what to do."""

from __future__ import annotations

import errno
import traceback
from pathlib import Path
from typing import Any

from runbook_lib.catalogue import CATALOGUE, Exit, Explanation, Reason

__all__ = ["Exit", "Reason", "RunbookError", "frames_of", "no_room", "unexpected"]


def no_room(error: OSError) -> bool:
    """Whether space ran out: the disk is full, or a quota or the limit on file size (ulimit -f) is reached."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def unexpected(error: BaseException) -> RunbookError:
    """Turn any error into one of ours that names its type and its place in our code.

    Its message is dropped, since it may hold a secret. Only an OSError keeps it: that names a file and a cause.
    """
    ours = Path(__file__).parent
    stack = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in stack if Path(frame.filename).is_relative_to(ours)]
    place = f" at {Path(frames[-1].filename).relative_to(ours.parent)}:{frames[-1].lineno}" if frames else ""
    said = ""
    if isinstance(error, OSError) and error.strerror:
        said = f": {error.strerror}" + (f": {error.filename}" if isinstance(error.filename, str) else "")
    return RunbookError(Reason.UNEXPECTED, f"{type(error).__name__}{place}{said}.")


def frames_of(error: BaseException) -> str:
    """The types and places of an error and of its causes, without any value."""
    lines: list[str] = []
    current: BaseException | None = error
    while current is not None and len(lines) < _MOST_FRAMES:
        lines.append(type(current).__name__)
        for frame in traceback.extract_tb(current.__traceback__):
            place = "/".join(Path(frame.filename).parts[-3:])
            lines.append(f"  {place}:{frame.lineno} in {frame.name}")
        current = current.__cause__ or current.__context__
    return "\n".join(lines[:_MOST_FRAMES]) + "\n"


_MOST_FRAMES = 500


LONGEST = 5_000
"""Maximum characters of an error's text: a mistyped value may be as long as a file."""


class RunbookError(Exception):
    """Anything that this project refuses or cannot do, in words a person can act on.

    Args:
        reason: which of the known reasons.
        what: what happened this time, with the names and numbers of this case. Never a secret.
        remedy: a more exact remedy than the catalogue's, if the case allows one.
        retry_after: seconds that a server asked to wait before the next request (RFC 9110, section 10.2.3).
        title: names the cause more exactly than the catalogue's title, if the case allows it.
    """

    def __init__(
        self,
        reason: Reason,
        what: str,
        *,
        remedy: str | None = None,
        retry_after: float | None = None,
        title: str | None = None,
    ) -> None:
        self.reason = reason
        self.what = _sayable(what)
        self.retry_after = retry_after
        self._remedy = remedy and _sayable(remedy)
        self._title = title and _sayable(title)
        super().__init__(self.what)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> RunbookError:
        """The error that `as_dict` described."""
        return cls(
            Reason(data["reason"]),
            data["what"],
            remedy=data["remedy"],
            retry_after=data.get("retry_after"),
            title=data["title"],
        )

    @property
    def explanation(self) -> Explanation:
        return CATALOGUE[self.reason]

    @property
    def title(self) -> str:
        return self._title or self.explanation.title

    @property
    def means(self) -> str:
        return self.explanation.means

    @property
    def remedy(self) -> str:
        return self._remedy or self.explanation.remedy

    @property
    def exit(self) -> Exit:
        return self.explanation.exit

    def __str__(self) -> str:
        return f"{self.what}\nWhat it means: {self.means}\nWhat to do:    {self.remedy}"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, (type(self), self.reason, self.what, self._remedy, self.retry_after, self._title))

    def as_dict(self) -> dict[str, Any]:
        """For run.json: reason, title, what, means, remedy, notebook, exit; retry_after if a server asked for it."""
        found: dict[str, Any] = {
            "reason": self.reason.value,
            "title": self.title,
            "what": self.what,
            "means": self.means,
            "remedy": self.remedy,
            "notebook": self.explanation.notebook,
            "exit": int(self.exit),
        }
        return found if self.retry_after is None else {**found, "retry_after": self.retry_after}

    def _render_traceback_(self) -> list[str]:
        """IPython shows this in place of a traceback: a person at a notebook wants the remedy, not our call stack."""
        return [f"{self.title} [{self.reason.value}]", *str(self).splitlines()]


def _sayable(text: str) -> str:
    """Text that any file and terminal accepts, whatever value it quotes: valid UTF-8, and not longer than LONGEST."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} more characters)"


def _rebuild(
    kind: type[RunbookError],
    reason: Reason,
    what: str,
    remedy: str | None,
    retry_after: float | None,
    title: str | None,
) -> RunbookError:
    return kind(reason, what, remedy=remedy, retry_after=retry_after, title=title)

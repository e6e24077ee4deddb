"""Sends messages by apprise. Its URLs hold secrets: they are resolved here and appear nowhere else."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from runbook_lib import looks
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.notices.notice_state import Message, NoticesState
from runbook_lib.secrets import resolve
from runbook_lib.visible import visible

BUDGET = 120.0
"""Seconds after which a run sends no further message; the next run goes on."""

_SECONDS = 20.0
"""The limit for one message."""

_HOST = re.compile(r"localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[\d.]+", re.IGNORECASE)
_MOST_SHOWN = 300


@dataclass
class Sent:
    """What became of the waiting messages.

    Args:
        sent: how many were accepted.
        waiting: how many the next run sends.
        problems: why, a sentence for each way.
    """

    sent: int = 0
    waiting: int = 0
    problems: list[str] = field(default_factory=list)


class Way:
    """A way to a recipient. Its representation shows the reference alone.

    Args:
        reference: to an apprise URL.

    Raises:
        RunbookError: SECRET_NOT_FOUND or SECRET_EXPOSED; BAD_PARAMETER if apprise is missing or does not know the URL.
    """

    def __init__(self, reference: str, environ: Mapping[str, str] | None = None) -> None:
        self.reference = reference
        url = resolve(reference, environ=environ).reveal().strip()
        for part in secret_parts(url):
            looks.remember(part)
        apprise = _apprise()
        self._mail = url.lower().startswith("mailto")
        asset = apprise.AppriseAsset(
            app_id="DigiCert ONE runbooks",
            app_desc="DigiCert ONE runbooks",
            app_url="",
            image_url_mask="",  # a message loads nothing
            async_mode=False,
            storage_mode=apprise.PersistentStoreMode.MEMORY,
            service_timeout=_SECONDS,
        )
        with quiet() as said:
            plugin = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
        if plugin is None:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"{reference} does not hold a URL that apprise knows.{_why(said)}",
                remedy="See the list of services in apprise's documentation, and put one URL there, in one line.",
                title="A way to a recipient is not valid",
            )
        self.service = visible(str(plugin.service_name))
        self._sender: Any = apprise.Apprise(asset=asset)
        self._sender.add(plugin)

    def __repr__(self) -> str:
        return f"Way({self.reference})"

    def send(self, message: Message) -> str:
        """Send a message. Returns why it was not accepted; empty if it was."""
        with quiet() as said:
            try:
                accepted = self._sender.notify(
                    title=message.subject,
                    body=message.html if self._mail else message.text,
                    body_format="html"
                    if self._mail
                    else "text",  # declared, so that apprise escapes it for each service
                    notify_type=message.kind,
                )
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything, and its text may hold the URL
                return f"{self.service} ({self.reference}): {type(error).__name__}."
        return "" if accepted else f"{self.service} ({self.reference}) did not accept it.{_why(said)}"


def send_waiting(state: NoticesState, known: tuple[str, ...], environ: Mapping[str, str] | None = None) -> Sent:
    """Send what waits, oldest first. A way that fails is not tried again in this run.

    Before a message is sent, a durable line says so. A process that is killed in between leaves the message in doubt:
    the next run sends it once more.

    Args:
        known: the references of the notices file. A message to any other is dropped: its recipient was removed.
    """
    found = Sent()
    if given_up := state.settle():
        found.problems.append(f"Killed twice while sending, so it is unknown whether they were sent: {given_up:,}.")
    ways: dict[str, Way | None] = {}
    until = time.monotonic() + BUDGET
    for number, message in state.waiting():
        if message.way not in known:
            state.sent(number)
            found.problems.append(f"Not sent, since {message.way} is no longer in the notices file: {message.subject}")
            continue
        if message.way not in ways:
            ways[message.way] = _way(message.way, environ, found.problems)
        way = ways[message.way]
        if way is None or time.monotonic() > until:
            found.waiting += 1
            continue
        state.sending(number)
        problem = way.send(message)
        if problem:
            state.not_sent(number)
            ways[message.way] = None
            found.problems.append(problem)
            found.waiting += 1
        else:
            state.sent(number)
            found.sent += 1
    return found


def _way(reference: str, environ: Mapping[str, str] | None, problems: list[str]) -> Way | None:
    try:
        return Way(reference, environ)
    except RunbookError as error:
        problems.append(error.what)
        return None


def secret_parts(url: str) -> set[str]:
    """The parts of an apprise URL that may be secrets: user, password, tokens; no host, no address, no short word."""
    body = url.partition("://")[2] or url
    parts = {part for piece in re.split(r"[/?&#]", body) for part in re.split(r"[:@=]", piece)}
    parts |= {url, *(part for piece in re.split(r"[/?&#]", body) for part in piece.split("@")[:1])}
    found = {part for part in parts if len(part) >= looks.MIN_LENGTH and not _HOST.fullmatch(part)}
    return found | {unquote(part) for part in found}


def _apprise() -> Any:
    try:
        import apprise
    except ImportError:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "Messages need the package apprise, which is not installed.",
            remedy="Run pip install 'digicert-one-runbooks[notices]'.",
            title="A package is missing",
        ) from None
    return apprise


class _Said(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Keep what apprise and its libraries log, which may hold a URL, from every log; yields its warnings."""
    said = _Said()
    loggers = [logging.getLogger(name) for name in ("apprise", "urllib3", "requests", "requests_oauthlib")]
    before = [(logger.propagate, logger.level) for logger in loggers]
    for logger in loggers:
        logger.propagate = False
        logger.setLevel(logging.WARNING)
        logger.addHandler(said)
    try:
        yield said.lines
    finally:
        for logger, (propagate, level) in zip(loggers, before, strict=True):
            logger.removeHandler(said)
            logger.propagate = propagate
            logger.setLevel(level)


def _why(said: list[str]) -> str:
    """What apprise said, without the secrets of the URL."""
    text = visible(looks.withheld(" ".join(" ".join(said).split())))
    return f" {text[:_MOST_SHOWN]}" if text else ""

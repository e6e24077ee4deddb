"""Whatever a server answers, the client ends in time, in little memory, with every row or a word of doubt, and gives
its key to nobody else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runbook_lib.digicert import answers, client, listing
from runbook_lib.digicert.client import Client
from runbook_lib.digicert.models import CertificateRequest
from runbook_lib.errors import Reason, RunbookError
from runbook_lib.secrets import Secret
from tests.digicert.conftest import API_KEY
from tests.digicert.hostile import (
    CASES,
    CHUNKED,
    ERROR,
    OK,
    SLOW,
    TRANSPORT,
    Answer,
    Asked,
    Hostile,
    Rows,
    endless,
    hostile_server,
    says,
    slow,
)

WINDOW = 0.8
"""Seconds that an answer may take here."""

SPARE_MB = 350
"""What a case may add to a process. A run with 150 MB of its own then stays below 500."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    with hostile_server(tmp_path_factory.mktemp("tls")) as server:
        yield server


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits as in earnest, only shorter."""
    monkeypatch.setattr(answers, "RETRY_AFTER_MAX_SECONDS", 0.05)
    monkeypatch.setattr(client, "BACKOFF", 0.01)
    monkeypatch.setattr(listing, "PAGES_MAX", 20)


def ask(server: Hostile, window: float = WINDOW) -> Client:
    server.requests.clear()
    return Client(server.environment, api_key=Secret(API_KEY, "test"), read_seconds=window / 2, answer_seconds=window)


def high_water() -> int:
    """The most memory this process has had since it was last forgotten, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024


@pytest.mark.parametrize("name", CASES)
def test_each_answer_ends_in_rows_or_in_a_sentence(server: Hostile, name: str) -> None:
    server.answer, expected = CASES[name]
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before, began = high_water(), time.monotonic()
    # what ends by itself has time on a busy machine too
    window = 0.3 if name in SLOW else WINDOW if name in TRANSPORT and expected == ERROR else 10
    with ask(server, window) as asking:
        try:
            listed = asking.certificates()
        except RunbookError as error:
            assert expected == ERROR, error
            assert API_KEY not in str(error)
            assert len(error.what) < 1000
            assert error.what.isprintable()
        else:
            rows = len(listed) + len(listed.malformed)
            assert expected == Rows(rows, whole=listed.problem is None), listed.problem
    assert time.monotonic() - began < 6
    assert high_water() - before < SPARE_MB
    assert server.requests


def test_there_are_150_ways_and_each_kind_is_among_them() -> None:
    assert len(CASES) >= 150
    assert sum(expected == ERROR for _, expected in CASES.values()) > 50
    assert sum(isinstance(expected, Rows) and not expected.whole for _, expected in CASES.values()) > 25


@pytest.mark.parametrize("name", ["a slow body", "slow headers", "a slow status line", "a body without end"])
def test_a_request_that_was_dragged_out_is_not_repeated(server: Hostile, name: str) -> None:
    server.answer = CASES[name][0]
    with ask(server) as asking, pytest.raises(RunbookError) as caught:
        asking.me()
    assert caught.value.reason in (Reason.TIMED_OUT, Reason.UNEXPECTED_ANSWER)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [slow(b" ", OK + b"\r\n"), endless(b" ", OK + b"\r\n"), slow(b"0", CHUNKED), says("", status="307 Elsewhere")],
)
def test_a_post_is_sent_once_and_its_outcome_counts_as_unknown(server: Hostile, answer: Answer) -> None:
    server.answer = answer
    with ask(server) as asking, pytest.raises(RunbookError) as caught:
        asking.request_certificate(CertificateRequest(csr="-----BEGIN CERTIFICATE REQUEST-----", name="a"))
    assert caught.value.reason in (Reason.OUTCOME_UNKNOWN, Reason.UNEXPECTED_ANSWER)
    assert len(server.requests) == 1


def test_the_window_is_for_one_answer_and_not_for_all(server: Hostile) -> None:
    """A list of many pages may take longer than one of them."""

    def answer(asked: Asked) -> None:
        time.sleep(WINDOW / 3)
        CASES["pages: limit and no total"][0](asked)

    server.answer = answer
    began = time.monotonic()
    with ask(server) as asking:
        assert len(asking.certificates()) == 57
    assert time.monotonic() - began > WINDOW

"""The notices file is refused with its mistakes before anything runs, and quotes no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.notices.notices_file import NoticeState, read_notices

SAMPLE = Path(__file__).parents[2] / "parameters" / "notices.yaml"
TOKEN = "T0PxQ4kmW8zs7Yv2Lr9nB3"
GOOD = "recipients: {pki: ['env:MAIL']}\nsend: [{to: [pki]}]\n"


def refusal(tmp_path: Path, text: str) -> RunbookError:
    file = tmp_path / "notices.yaml"
    file.write_text(text)
    with pytest.raises(RunbookError) as refused:
        read_notices(file)
    return refused.value


def test_the_sample_is_valid_and_its_rules_say_who_gets_what():
    notices = read_notices(SAMPLE)
    dates, failures = notices.send
    assert dates.takes(NoticeState.DUE, "inventory", "demo")
    assert not dates.takes(NoticeState.FAILED, "inventory", "production")
    assert failures.takes(NoticeState.FAILED, "rotate", "production")
    assert not failures.takes(NoticeState.FAILED, "rotate", "demo")
    assert not failures.takes(NoticeState.FAILED, "verify", "production")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("recipients: {pki: ['env:MAIL']}\nsend: [{to: [ops]}]\n", "`recipients` has no 'ops'"),
        ("recipients: {pki: ['env:MAIL']}\n", "nothing is sent to 'pki'"),
        ("recipients: {pki: []}\nsend: [{to: [pki]}]\n", "'pki' has no reference"),
        (GOOD + "metric: /tmp\n", "metric: unknown setting"),
        (GOOD.replace("to: [pki]", "to: [pki], states: [dead]"), "must be one of due, urgent"),
        (GOOD + "reports: ftp://host\n", "must begin with https://"),
        ("recipients: {pki: ['prompt:']}\nsend: [{to: [pki]}]\n", "a headless run cannot do"),
        ("- pki\n", "is not a notices file"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, says: str):
    error = refusal(tmp_path, text)
    assert error.reason is Reason.BAD_PARAMETER
    assert says in error.what


def test_a_url_in_place_of_a_reference_is_refused_and_not_shown(tmp_path: Path):
    error = refusal(tmp_path, GOOD.replace("env:MAIL", f"slack://{TOKEN}/{TOKEN}/{TOKEN}"))
    assert error.reason is Reason.SECRET_AS_VALUE
    assert TOKEN not in str(error)

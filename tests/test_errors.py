"""An error can be shown and stored, whatever value it tells of."""

import pickle

import pytest

from runbook_lib.catalogue import CATALOGUE, Reason
from runbook_lib.errors import LONGEST, RunbookError


@pytest.mark.parametrize("value", ["\udcff", "\ud800", "x" * 100_000, "ü" * 10, "🔑"])
def test_an_error_is_written_to_any_file_or_terminal(value: str):
    error = RunbookError(Reason.BAD_PARAMETER, f"{value} is wrong.", remedy=f"chmod go= {value}")
    for text in (str(error), *map(str, error.as_dict().values()), str(RunbookError.from_dict(error.as_dict()))):
        assert text.encode() is not None
        assert len(text) < 3 * LONGEST


def test_a_title_of_its_own_comes_along_wherever_the_error_goes():
    error = RunbookError(Reason.NOT_PROVEN, "It failed.", title="The cause")
    for copy in (RunbookError.from_dict(error.as_dict()), pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own
        assert (copy.reason, copy.title) == (Reason.NOT_PROVEN, "The cause")
    assert RunbookError(Reason.BUSY, "It runs.").title == CATALOGUE[Reason.BUSY].title


def test_an_error_of_ordinary_length_says_all_of_it():
    assert RunbookError(Reason.BAD_PARAMETER, "größer als 3").what == "größer als 3"
    assert RunbookError(Reason.BAD_PARAMETER, "x" * LONGEST).what == "x" * LONGEST
    assert RunbookError(Reason.BAD_PARAMETER, "x" * (LONGEST + 1)).what.endswith("(1 more characters)")

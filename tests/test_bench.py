"""The benchmark's own arithmetic: a claim that does not hold is said not to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.__main__ import machine, plot
from tests.bench.ratio import Curve, Ratio


def test_a_speed_up_holds_at_the_median_of_its_pairs() -> None:
    ratio = Ratio("x", ours=(1.0, 2.0, 1.0), theirs=(20.0, 20.0, 16.0), needed=15, sense="at least", note="")
    assert ratio.each == (20.0, 10.0, 16.0)
    assert (ratio.median, ratio.held) == (16.0, True)
    slower = Ratio("x", ours=(2.0,), theirs=(20.0,), needed=15, sense="at least", note="")
    assert not slower.held


def test_a_share_holds_when_it_is_small_enough() -> None:
    assert Ratio("x", ours=(0.3,), theirs=(1.0,), needed=0.4, sense="at most", note="").held
    assert not Ratio("x", ours=(0.5,), theirs=(1.0,), needed=0.4, sense="at most", note="").held


def test_a_run_without_one_beside_it_is_no_measurement() -> None:
    with pytest.raises(ValueError, match="beside"):
        Ratio("x", ours=(0.3, 0.2), theirs=(1.0,), needed=0.4, sense="at most", note="")


def test_the_machine_is_described_and_the_curve_drawn(tmp_path: Path) -> None:
    assert machine()["cores"]
    plot([Curve("reports", "report", (10, 100), (1.0, 9.0))], tmp_path / "cost.svg")
    assert "<svg" in (tmp_path / "cost.svg").read_text()

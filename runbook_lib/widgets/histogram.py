"""The histogram of an inventory: how many certificates end in each month, with a bounded number of bars."""

from __future__ import annotations

from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING

from runbook_lib.inventories.health import Health
from runbook_lib.result import Histogram
from runbook_lib.tone import tone
from runbook_lib.widgets.plots import COLOURS, INK, as_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BEFORE, AFTER = 6, 18
"""Months before and after now with a bar each; all others share two bars: earlier, and later."""

_SHADES = {"expired": "#8c2f2b"}
"""Darker than urgent, which has the same tone."""

_EARLIER, _LATER = "earlier", "later"


def bins(histogram: Histogram) -> tuple[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """The labels of the bars in order, and for each state, the most severe first, the count in each bar."""
    now = histogram.now.astimezone(UTC)
    months = [_month(now.year, now.month + offset) for offset in range(-BEFORE, AFTER + 1)]
    labels = (_EARLIER, *months, _LATER)
    counts: dict[str, Counter[str]] = {}
    for month, state, count in histogram.months:
        label = month if month in months else _EARLIER if month < months[0] else _LATER
        counts.setdefault(state, Counter())[label] += count
    order = [*reversed(Health), *sorted(set(counts) - set(Health))]
    return labels, {state: tuple(counts[state][label] for label in labels) for state in order if state in counts}


def _month(year: int, month: int) -> str:
    return f"{year + (month - 1) // 12}-{(month - 1) % 12 + 1:02}"


def describe_histogram(histogram: Histogram) -> str:
    """The histogram as text: its accessible name, and its line in the plain text."""
    labels, counts = bins(histogram)
    sums = [sum(column) for column in zip(*counts.values(), strict=True)] or [0] * len(labels)
    words = ", ".join(f"{label} {count:,}" for label, count in zip(labels, sums, strict=True) if count)
    return f"{histogram.title}: {words or 'none'}"


def histogram_svg(histogram: Histogram) -> str:
    """Draw a histogram as an `<svg role="img">` element. Equal histograms give equal bytes."""
    labels, counts = bins(histogram)

    def draw(figure: Figure) -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        bottoms = [0] * len(labels)
        for state, column in counts.items():
            colour = _SHADES.get(state, COLOURS[tone(state)])
            axes.bar(range(len(labels)), column, bottom=bottoms, width=0.8, color=colour, label=state)
            bottoms = [low + high for low, high in zip(bottoms, column, strict=True)]
        axes.axvline(BEFORE + 1, color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
        axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right", rotation_mode="anchor")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.tick_params(colors=INK, length=3, width=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        for side in ("left", "bottom"):
            axes.spines[side].set_color(INK)
        axes.set_ylabel("certificates", color=INK)
        axes.set_xlabel(f"dashed line: this month, {histogram.now.astimezone(UTC):%Y-%m}", color=INK)
        if counts:
            axes.legend(frameon=False, labelcolor=INK, ncols=len(counts), loc="upper left", bbox_to_anchor=(0, 1.16))
        figure.subplots_adjust(left=0.08, right=0.98, top=0.88, bottom=0.3)

    return as_svg(draw, height=3.2, words=describe_histogram(histogram))

"""The timeline of an inventory: validity periods as bars, drawn with matplotlib and returned as SVG text.

The SVG goes into the panel's HTML as it is. It needs no script and no network, its text can be searched and selected,
and its axes take the colour of the text around it, in light and dark themes.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from markupsafe import escape

from runbook_lib.result import Bar, Timeline
from runbook_lib.tone import tone
from runbook_lib.visible import visible
from runbook_lib.words import date_words, quantity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 40
_LABEL = 34  # characters of a certificate's name that fit beside the plot
_FIRST, _LAST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)
"""The range of matplotlib's time axis."""

INK = "#010203"  # a placeholder for the colour of the text around the plot
COLOURS = {"good": "#3d9a50", "warn": "#d98c1f", "info": "#3f7fc4", "bad": "#cf4a44", "calm": "#8a93a0"}


def most_pressing(timeline: Timeline) -> tuple[Bar, ...]:
    """The bars to draw, at most `MOST_BARS`, in the order of their ends.

    Certificates that end next have priority over expired ones, which must not hide those that still need action.
    """
    now = timeline.now
    nearest = sorted(timeline.bars, key=lambda bar: (bar.end < now, abs(bar.end - now), bar.label))
    return tuple(sorted(nearest[:MOST_BARS], key=lambda bar: (bar.end, bar.label)))


def timeline_svg(timeline: Timeline) -> str:
    """Draw a timeline.

    Equal timelines give equal bytes: no date, version or random id is written.

    Args:
        timeline: any number of bars. Of more than `MOST_BARS`, the most pressing are drawn; the last line of the plot
            counts the rest.

    Returns:
        an `<svg role="img">` element, to be put into HTML as it is.
    """
    bars = most_pressing(timeline)

    def draw(figure: Figure) -> None:
        _draw(figure.add_subplot(), bars, timeline)
        figure.subplots_adjust(left=0.27, right=0.9, top=1 - 0.08 / figure.get_figheight(), bottom=0)
        figure.subplots_adjust(bottom=0.62 / figure.get_figheight())

    return as_svg(draw, height=0.9 + 0.27 * max(len(bars), 1), words=describe(timeline))


def as_svg(draw: Callable[[Figure], None], *, height: float, words: str) -> str:
    """A drawing as an `<svg role="img">` element.

    Args:
        draw: fills the figure, which is 9.5 inches wide; `INK` becomes the colour of the text around the plot.
        height: in inches.
        words: the accessible name.
    """
    # matplotlib takes half a second to import, and most notebooks draw nothing
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with (
        mpl.rc_context({"svg.hashsalt": "runbook", "svg.fonttype": "none", "font.size": 9.0}),
        warnings.catch_warnings(),
    ):
        # the browser, not matplotlib, chooses the font
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(9.5, height))
        FigureCanvasSVG(figure)
        draw(figure)
        figure.savefig(
            stream,
            format="svg",
            transparent=True,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return _for_html(stream.getvalue(), words)


def describe(timeline: Timeline) -> str:
    """The timeline as text: its accessible name, and its line in the plain text."""
    shown, total = len(most_pressing(timeline)), len(timeline.bars)
    text = f"{timeline.title}: {quantity(total, 'certificate')}"
    if shown < total:
        text += f"; the {shown} that end soonest are drawn, {total - shown} not"
    return f"{text}; as of {date_words(timeline.now)}"


def _draw(axes: Axes, bars: tuple[Bar, ...], timeline: Timeline) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    now = timeline.now
    first = min([bar.start for bar in bars] + [now])
    last = max([bar.end for bar in bars] + [now])
    if len(bars) > 3:
        # a certificate from ten years ago must not squeeze this year's into a line
        first = max(first, _moved(now, -800))
        last = min(last, _moved(now, 800))
    margin = max((last - first).days * 0.02, 1)
    axes.set_xlim(_number(_moved(first, -margin)), _number(_moved(last, margin)))
    axes.set_ylim(max(len(bars), 1) - 0.4, -0.6)  # the soonest on top
    for row, bar in enumerate(bars):
        start, end = max(bar.start, first), min(max(bar.end, first), last)
        axes.barh(
            row,
            _number(end) - _number(min(start, end)),
            left=_number(min(start, end)),
            height=0.55,
            color=COLOURS[tone(bar.state)],
        )
        axes.text(
            1.01,
            row,
            _shorten(bar.state, 14),
            transform=axes.get_yaxis_transform(),
            va="center",
            color=INK,
            parse_math=False,
        )
    axes.axvline(_number(now), color=INK, linewidth=1.0, linestyle=(0, (4, 2)))
    axes.set_yticks(range(len(bars)), [_shorten(bar.label, _LABEL) for bar in bars])
    for label in axes.get_yticklabels():
        label.set_parse_math(False)
    locator = AutoDateLocator(minticks=4, maxticks=9, tz=UTC)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    form = ConciseDateFormatter(locator, tz=UTC, show_offset=False)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_formatter(form)
    axes.tick_params(colors=INK, length=3, width=0.6)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(INK)
    axes.set_xlabel(_caption(timeline, len(bars)), color=INK, parse_math=False)


def _caption(timeline: Timeline, shown: int) -> str:
    text = f"dashed line: now, {date_words(timeline.now)}"
    hidden = len(timeline.bars) - shown
    return f"{text}.  {hidden} more in the table, not drawn" if hidden else text


def _moved(moment: datetime, days: float) -> datetime:
    """A moment some days later, limited to the calendar: a certificate may end in the last second of 9999."""
    try:
        return min(max(moment + timedelta(days=days), _FIRST), _LAST)
    except OverflowError:
        return _LAST if days > 0 else _FIRST


def _number(moment: datetime) -> float:
    from matplotlib.dates import date2num

    return float(date2num(moment))  # type: ignore[no-untyped-call]


def _shorten(text: str, most: int) -> str:
    text = visible(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def _for_html(svg: str, words: str) -> str:
    """An SVG file as an element of an HTML page: without prologue and page-wide rules, with an accessible name."""
    svg = svg[svg.index("<svg") :]
    # matplotlib's rule `*{stroke-linejoin: round…}` would apply to the whole page; set on the root element it does not
    svg = re.sub(r"\s*<defs>\s*<style[^>]*>.*?</style>\s*</defs>", "", svg, count=1, flags=re.DOTALL)
    svg = re.sub(r"(fill|stroke): ?" + INK, r"\1: currentColor", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    width = re.search(r'viewBox="0 0 ([\d.]+)', svg)
    head = (
        f'<svg role="img" aria-label="{escape(visible(words))}" '
        f'style="display: block; width: 100%; max-width: {width[1] if width else 700}pt; height: auto; '
        'stroke-linejoin: round; stroke-linecap: butt"'
    )
    return re.sub(r'^<svg(.*?) width="[^"]*" height="[^"]*"', lambda found: head + found[1], svg, count=1)

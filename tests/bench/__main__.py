"""`python -m tests.bench [TOPIC…] [--quick]`: runs the topics, prints the table, keeps it in docs/bench."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from tests.bench.ratio import Curve, Ratio

HERE = Path(__file__).parent
FRAME = {"__init__", "__main__", "ratio"}
TOPICS = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in FRAME and not path.stem.startswith("_"))


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was with other things."""
    models = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "memory_GiB": round(psutil.virtual_memory().total / 2**30, 1),
        "load": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []


def table(ratios: Sequence[Ratio]) -> Table:
    shown = Table(title="Ratios of paired runs", show_lines=True)
    for column in ("What", "Ratio (median)", "Spread", "Needed", "Held", "Ours", "Theirs"):
        shown.add_column(column, justify="left" if column == "What" else "right")
    for one in ratios:
        shown.add_row(
            f"{one.name}\n[dim]{one.note}[/dim]",
            f"{one.median:.2f}",
            f"{min(one.each):.2f} to {max(one.each):.2f}, {len(one.each)} pairs",
            f"{one.sense} {one.needed:g}",
            "[green]yes[/green]" if one.held else "[bold red]no[/bold red]",
            f"{min(one.ours):.3f} s",
            f"{min(one.theirs):.3f} s",
        )
    return shown


def plot(curves: Sequence[Curve], to: Path) -> None:
    """Cost of one against how many, as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for one in curves:
        each = [1000 * seconds / size for seconds, size in zip(one.seconds, one.sizes, strict=True)]
        axes.plot(one.sizes, each, marker="o", label=f"{one.name} (per {one.what})")
    axes.set(xscale="log", yscale="log", xlabel="how many", ylabel="milliseconds for one", title="Cost against size")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(to, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=f"of {', '.join(TOPICS)}; without: all")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, fewer pairs; nothing is kept")
    given = parser.parse_args()
    if unknown := sorted(set(given.topics) - set(TOPICS)):
        parser.error(f"no such topic: {', '.join(unknown)}")
    console = Console(width=160)
    started, described = datetime.now(UTC), machine()
    console.print(", ".join(f"{name} {value}" for name, value in described.items()))
    found: list[Ratio | Curve] = []
    for topic in given.topics or TOPICS:
        console.print(f"{topic} …")
        found += importlib.import_module(f"tests.bench.{topic}").measure(given.quick)
    ratios = [one for one in found if isinstance(one, Ratio)]
    curves = [one for one in found if isinstance(one, Curve)]
    console.print(table(ratios))
    if not given.quick:
        kept = HERE.parents[1] / "docs" / "bench" / f"{started:%Y%m%dT%H%M%SZ}.json"
        kept.parent.mkdir(exist_ok=True)
        told = {
            "started": f"{started:%Y-%m-%dT%H:%M:%SZ}",
            "machine": described,
            "ratios": [asdict(one) | {"median": one.median, "held": one.held} for one in ratios],
            "curves": [asdict(one) for one in curves],
        }
        kept.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        if curves:
            plot(curves, kept.with_suffix(".svg"))
        console.print(f"Kept in {kept.relative_to(Path.cwd())}" if kept.is_relative_to(Path.cwd()) else f"{kept}")
    sys.exit(0 if all(one.held for one in ratios) else 1)


if __name__ == "__main__":
    main()

"""`runbook archive diff`: reports what changed between two inventories."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.catalogue import Exit
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE, archive_option
from runbook_lib.cli.terminal import out
from runbook_lib.tables import csv_of
from runbook_lib.visible import visible
from runbook_lib.words import quantity

SHOWN = 200
"""How many changes a terminal shows."""


@click.command(cls=Command)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@archive_option
@click.option("--csv", metavar="FILE", type=FILE, help="Also write the changes as CSV.")
@click.option("--html", metavar="FILE", type=FILE, help="Also write them as an HTML page.")
def command(before: str, after: str, archive: Path, csv: Path | None, html: Path | None) -> Exit:
    """Report what changed between two inventories.

    A and B are bags, by path or by name, or days (YYYY-MM-DD, UTC) for the last inventory of that day. Exit 30 if one
    of the two could not query every source.
    """
    from rich.console import Console
    from rich.table import Table

    from runbook_lib.archive import bag
    from runbook_lib.audit.inventory_diff import compare_inventories, named
    from runbook_lib.audit.inventory_diff_page import comparison_page

    comparison = compare_inventories(named(archive, before), named(archive, after))
    table = comparison.table()
    if csv is not None:
        with bag.archive_errors(csv):
            csv.write_bytes(csv_of(table))
    if html is not None:
        with bag.archive_errors(html):
            html.write_text(comparison_page(comparison), encoding="utf-8")
    if table.rows:
        shown = Table(box=None, header_style="bold", pad_edge=False)
        filled = [number for number in range(len(table.columns)) if any(row[number] for row in table.rows)]
        for number in filled:
            shown.add_column(table.columns[number], no_wrap=number < 2)
        for row in table.rows[:SHOWN]:
            shown.add_row(*(visible(row[number]) for number in filled))
        Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(shown)
    if len(table.rows) > SHOWN:
        out(f"… and {quantity(len(table.rows) - SHOWN, 'more change')}; --csv and --html write all.")
    out(visible(comparison.headline))
    for line in comparison.warnings:
        out(visible(line), alarm=True)
    return Exit.DONE if comparison.complete else Exit.CHECK_FAILED

"""`runbook doctor`: the checks of notebook 00 in a terminal, without a run or an archive."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbook_lib.catalogue import Exit
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import files_option, parameters_option
from runbook_lib.cli.terminal import out, plain

if TYPE_CHECKING:
    from runbook_lib.result import StepRecord

MARK = {"ok": "✓", "nothing to do": "✓", "planned": "·", "attention": "!"}


@click.command(cls=Command)
@files_option
@parameters_option
def command(files: tuple[Path, ...], parameters: tuple[tuple[str, str], ...]) -> Exit:
    """Check connection, clock, secrets, service user and store.

    Each failure names its remedy.
    """
    from runbook_lib.cli.parameters import read_parameters
    from runbook_lib.procedures.doctor import Doctor
    from runbook_lib.procedures.parameters import DoctorParameters, intake
    from runbook_lib.result import Verdict

    given = {"mode": "headless"} | read_parameters(files, parameters)
    procedure = Doctor(intake(DoctorParameters, given)[0])
    for step in Doctor.steps():
        _print_step(procedure.perform(step.slug))
    return Exit.CHECK_FAILED if procedure.finish().verdict is Verdict.FAILED else Exit.DONE


def _print_step(record: StepRecord) -> None:
    out(f"{MARK.get(record.verdict, '✗')} {record.title}")
    if record.error is not None:
        out(plain(f"    {record.error['what']}"))
        out(plain(f"    What to do: {record.error['remedy']}"))
        return
    assert record.result is not None  # noqa: S101  (a record has one or the other)
    out(plain(f"    {record.result.headline}"))
    for verdict, name, seen in record.result.details:
        out(plain(f"    {MARK.get(verdict, '✗')} {name}: {seen}"))
    for label, value in record.result.facts.items():
        out(plain(f"      {label}: {value}"))

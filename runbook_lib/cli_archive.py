"""`runbook archive`: signer, time-stamp authority, proof, the head for a ticket, the index, what is missing."""

from __future__ import annotations

import os
import re
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.clock import iso
from runbook_lib.errors import RunbookError
from runbook_lib.terminal import out, visible

archive_app = typer.Typer(no_args_is_help=True, help="The archive: who signs it, whether it is whole, what is in it.")

ArchiveOption = Annotated[
    Path, typer.Option("--archive", envvar="DIGICERT_ONE_ARCHIVE", help="Where the bags go.", show_default=True)
]
SHOWN = 200
"""Changes that a terminal shows."""

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="The archive.")]


@archive_app.command("init")
def init(
    archive: ArchiveOption = Path("archive"),
    passphrase: Annotated[
        str, typer.Option(help="Where the passphrase of the signing key is: env:NAME, file:PATH, keyring:SERVICE/USER.")
    ] = "env:DIGICERT_ONE_ARCHIVE_PASSPHRASE",  # noqa: S107 - a reference
    csr: Annotated[bool, typer.Option("--csr", help="Make a request for your own CA, and sign nothing yet.")] = False,
    certificate: Annotated[
        Path | None, typer.Option(help="PEM that your CA made of the request: signer, intermediates, root.")
    ] = None,
    roll_over: Annotated[bool, typer.Option("--roll-over", help="Replace the signer; the old one signs that.")] = False,
) -> None:
    """Make a signing key with a self-signed certificate, or a request for one. From then on every run is signed."""
    from runbook_lib.clock import SystemClock
    from runbook_lib.reports import bag, chain, entries, signing

    if csr and certificate is not None:
        raise RunbookError(Reason.BAD_PARAMETER, "--csr asks for a certificate and --certificate brings one.")
    with bag.archive_errors(archive):
        archive.mkdir(parents=True, exist_ok=True)
        before = chain.find_head(archive).next_signer
        if before != chain.NONE and not roll_over:
            raise RunbookError(
                Reason.CONFIRMATION_MISSING,
                f"{archive} has a signer: {before}.",
                remedy="Add --roll-over to replace it.",
            )
        now = SystemClock().now()
        if csr:
            made = signing.request(archive, passphrase=passphrase, at=now, environ=os.environ)
            out().print(
                f"Have your CA certify {made} for signing, then bring signer, intermediates and root in one file:"
            )
            out().print(
                f"runbook archive init --archive {archive} --certificate FILE{' --roll-over' if roll_over else ''}"
            )
            return
        if certificate is not None:
            signer = signing.accept(archive, certificate, os.environ)
        else:
            signer = signing.make(archive, passphrase=passphrase, at=now, environ=os.environ)
        place = entries.begin_signing(archive, signer, at=now, environ=os.environ)
    out().print("Every run is signed from now on. Keep this where nobody who writes to the archive can change it:")
    out().print(f"signer {signer.fingerprint}")
    sys.stdout.write(f"{place.folder}\n")


@archive_app.command("authority")
def authority(
    archive: Folder,
    url: Annotated[str, typer.Argument(metavar="URL", help="Of an RFC 3161 time-stamp authority: http or https.")],
    roots: Annotated[Path, typer.Option("--roots", help="PEM: the root certificate that the authority leads to.")],
) -> None:
    """Have every bag time-stamped from now on, and soon those that are there. The choice is an entry of the chain."""
    from runbook_lib.clock import SystemClock
    from runbook_lib.reports import authority as tsa
    from runbook_lib.reports import bag, entries

    with bag.archive_errors(archive):
        archive.mkdir(parents=True, exist_ok=True)
        chosen = tsa.chosen(archive, url, roots)
        place = entries.begin_stamping(archive, chosen, at=SystemClock().now(), environ=os.environ)
    out().print(f"It works. Every run asks {url} from now on; `runbook archive stamp` asks for all that are missing.")
    sys.stdout.write(f"{place.folder}\n")


@archive_app.command("stamp")
def stamp(archive: Folder) -> None:
    """Ask for every time stamp that is missing. Exit 0 if none is missing now."""
    from runbook_lib.reports import authority as tsa
    from runbook_lib.reports import bag, stamps

    with bag.archive_errors(archive):
        if tsa.configured(archive) is None:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"{archive} has no time-stamp authority.",
                remedy="Choose one: runbook archive authority DIR URL --roots FILE",
            )
        done = stamps.stamp(archive)
    out().print(f"Time stamps that came: {done.came}. Still missing: {done.waiting}.")
    if done.problem is not None:
        raise done.problem


@archive_app.command("verify")
def verify(
    archive: Folder,
    head: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Kept elsewhere: shows whether the end was cut off.")
    ] = None,
    excerpt: Annotated[bool, typer.Option("--excerpt", help="DIR is what `runbook archive export` made.")] = False,
) -> None:
    """Exit 0 if every bag, the chain and the signatures hold; else 1 and a line for each thing that does not."""
    from runbook_lib.reports.verify import verify as check

    audit = check(archive, head=head, excerpt=excerpt)
    if audit.findings:
        out().print("NOT OK: this archive is not as it was sealed.", style="bold red")
        for one in audit.findings:
            out().print(f"  {visible(one)}")
        raise typer.Exit(int(Exit.UNEXPECTED))
    out().print(
        f"OK: {audit.bags} bags with {audit.files} files: none changed, added or missing, and the chain from the first "
        "to the last is whole."
    )
    if audit.signer:
        out().print(
            f"Signed: {audit.signed} bags. Compare the first signer with what you were given elsewhere; it named the "
            "next, if there is one."
        )
        out().print(f"First signer: {audit.signer}", soft_wrap=True)
    else:
        out().print(
            "NOT SIGNED: whoever could write here could have made all of it anew. Compare the head with one kept."
        )
    if audit.stamped:
        first, last = iso(audit.stamped[0]), iso(audit.stamped[-1])
        out().print(
            f"Time-stamped: {len(audit.stamped)} bags, {first} to {last}, by the authority of certs/tsa-roots.pem. "
            "Compare it too."
        )
    if audit.late:
        out().print(f"Signed by a certificate that was not valid at the stamped time: {audit.late} bags.")
    if audit.purged:
        out().print(f"Purged: {audit.purged} bags, as entries of the chain declare.")
    if excerpt:
        out().print(f"EXCERPT: {audit.elsewhere} bags of the archive are elsewhere; the last bag says which.")
    if audit.covered:
        out().print(f"Not signed themselves, but covered by the signature of a later bag: {audit.covered}")
    out().print("The head you gave is in the chain." if head else "Without --head a cut-off end cannot be seen.")
    if audit.head is not None:
        out().print(f"Head: {audit.head[0]} {audit.head[1]}")


@archive_app.command("head")
def head(archive: Folder) -> None:
    """Print number and digest of the last bag, for a ticket or a mail: later, `--head DIGEST` finds a cut-off end."""
    from runbook_lib.reports import bag, chain

    with bag.archive_errors(archive):
        last = chain.find_head(archive)
    if last == chain.GENESIS:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{archive} holds no bag.")
    sys.stdout.write(f"{last.sequence} {last.digest}\n")


@archive_app.command("index")
def index(archive: Folder) -> None:
    """Make index.html anew from the bags, and print its path."""
    from runbook_lib.reports.bag import archive_errors
    from runbook_lib.reports.index import write_index

    with archive_errors(archive):
        sys.stdout.write(f"{write_index(archive)}\n")


@archive_app.command("diff")
def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A bag; or a day, YYYY-MM-DD: its last inventory (UTC).")],
    after: Annotated[str, typer.Argument(metavar="B", help="The later one.")],
    archive: Annotated[
        Path, typer.Option("--archive", envvar="DIGICERT_ONE_ARCHIVE", help="Where days are looked up.")
    ] = Path("archive"),
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write the changes as CSV too.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write them as a page too.")] = None,
) -> None:
    """What changed between two inventories. Exit 0, or 30 where one of them could not ask every source."""
    from rich.table import Table

    from runbook_lib.reports import bag
    from runbook_lib.reports.diff import compare, named
    from runbook_lib.reports.diff_page import page

    comparison = compare(named(archive, before), named(archive, after))
    table = comparison.table()
    if csv is not None:
        with bag.archive_errors(csv):
            csv.write_bytes(bag.csv_bytes(table))
    if html is not None:
        with bag.archive_errors(html):
            html.write_text(page(comparison), encoding="utf-8")
    if table.rows:
        shown = Table(box=None, header_style="bold", pad_edge=False)
        told = [number for number in range(len(table.columns)) if any(row[number] for row in table.rows)]
        for number in told:
            shown.add_column(table.columns[number], no_wrap=number < 2)
        for row in table.rows[:SHOWN]:
            shown.add_row(*(visible(row[number]) for number in told))
        out().print(shown)
    if len(table.rows) > SHOWN:
        out().print(f"… and {len(table.rows) - SHOWN:,} more: --csv and --html have them all.")
    out().print(visible(comparison.headline))
    for line in comparison.warnings:
        out().print(visible(line), style="bold red")
    raise typer.Exit(int(Exit.DONE if comparison.complete else Exit.CHECK_FAILED))


# --- completeness -----------------------------------------------------------------------------------------------------


@archive_app.command("expect")
def expect(
    file: Annotated[Path, typer.Argument(help="YAML; parameters/expected/nightly.yaml is a sample.")],
    archive: ArchiveOption = Path("archive"),
) -> None:
    """Declare what the archive should hold: which jobs, how often, for which accounts. It holds from now on."""
    from runbook_lib.clock import SystemClock
    from runbook_lib.reports import chain
    from runbook_lib.reports.expectation import declare

    place, expectation = declare(archive, file, at=SystemClock().now(), environ=os.environ)
    out().print("Expected from now on:" if expectation.expected else "From now on nothing is expected.")
    names = [bag.name.partition("-")[2] for bag in chain.bags(archive)]
    for one in expectation.expected:
        known = any(re.fullmatch(rf"{one.job}(-[0-9]+)?", name) for name in names)
        out().print(visible(f"  {one}" + ("" if known else "; no run of that name is here yet")))
    sys.stdout.write(f"{place.folder}\n")


@archive_app.command("gaps")
def gaps(
    archive: Folder,
    since: Annotated[str | None, typer.Option("--from", metavar="DAY", help="YYYY-MM-DD, UTC; else all of it.")] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last day; else today.")] = None,
) -> None:
    """Exit 0 if everything that was declared is there, else 30 and a line for each thing that is not."""
    from runbook_lib.clock import SystemClock, iso
    from runbook_lib.reports.completeness import completeness, spans

    first, last = _day("--from", since), _day("--to", until)
    if first and last and first > last:
        raise RunbookError(Reason.BAD_PARAMETER, "--from is after --to.")
    until_day = last + timedelta(days=1) if last else None
    found = completeness(archive, now=SystemClock().now(), since=first, until=until_day)
    if not found.declarations:
        raise RunbookError(Reason.NOTHING_EXPECTED, f"{archive} holds no expectation.")
    span = f"from {iso(found.since)} to before {iso(found.until)}"
    for declared in found.declarations:
        out().print(visible(f"Declared {iso(declared.at)} by {declared.by}, in {declared.place}:"))
        for expected in declared.expected:
            out().print(visible(f"  {expected}"))
    for gap, end in spans(found.gaps):
        whose = f"{gap.job}, {gap.account}" if gap.account else gap.job
        when = iso(gap.start) if gap is end else f"{iso(gap.start)} to {iso(end.start)}"
        line = f"{gap.kind.value.upper()}  {when}  {whose}: {gap.what} {' '.join(gap.bags)}"
        out().print(visible(line.rstrip()))
    for note in found.notes:
        out().print(visible(f"Note: {note}"))
    if found.purged:
        out().print(f"Purged or not in this excerpt, and counted as having been there: {found.purged} runs.")
    still = f" {found.open} more have time still." if found.open else ""
    if found.gaps:
        line = (
            f"NOT COMPLETE: {found.met} of the {found.periods} periods that began {span} left what was expected.{still}"
        )
        out().print(line, style="bold red")
        raise typer.Exit(int(Exit.CHECK_FAILED))
    if not found.periods and not found.open:
        raise RunbookError(Reason.NOTHING_EXPECTED, f"Nothing was expected {span}.")
    out().print(f"COMPLETE: each of the {found.periods} periods that began {span} left what was expected.{still}")
    out().print("This takes the bags at their word. Whether they are unchanged is for `runbook archive verify`.")


def _day(option: str, text: str | None) -> datetime | None:
    from runbook_lib.clock import parse_utc

    try:
        return parse_utc(f"{text}T00:00:00Z") if text else None
    except ValueError:
        raise RunbookError(Reason.BAD_PARAMETER, f"{option}: {text!r} is no day; write YYYY-MM-DD.") from None

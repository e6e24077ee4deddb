"""`runbook archive`: signer, time-stamp authority, proof, the head for a ticket, the index, what changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from runbook_lib import tables
from runbook_lib.catalogue import Exit, Reason
from runbook_lib.clock import iso
from runbook_lib.command import ARCHIVE, DIR, argument, command, path
from runbook_lib.errors import RunbookError
from runbook_lib.terminal import out
from runbook_lib.visible import visible

SHOWN = 200
"""Changes that a terminal shows."""


@command(
    ARCHIVE,
    argument(
        "--passphrase",
        metavar="REF",
        default="env:DIGICERT_ONE_ARCHIVE_PASSPHRASE",
        help="Where the passphrase of the signing key is: env:NAME, file:PATH, keyring:SERVICE/USER. "
        "[default: %(default)s]",
    ),
    argument("--csr", action="store_true", help="Make a request for your own CA, and sign nothing yet."),
    argument(
        "--certificate",
        metavar="FILE",
        type=path,
        help="PEM that your CA made of the request: signer, intermediates, root.",
    ),
    argument("--roll-over", action="store_true", help="Replace the signer; the old one signs that."),
)
def init(archive: Path, passphrase: str, csr: bool, certificate: Path | None, roll_over: bool) -> None:
    """Make a signing key with a self-signed certificate, or a request for one. From then on every run is signed."""
    from runbook_lib.archive import bag, chain, entries, signing
    from runbook_lib.clock import SystemClock

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
            out(f"Have your CA certify {made} for signing, then bring signer, intermediates and root in one file:")
            out(f"runbook archive init --archive {archive} --certificate FILE{' --roll-over' if roll_over else ''}")
            return
        if certificate is not None:
            signer = signing.accept(archive, certificate, os.environ)
        else:
            signer = signing.make(archive, passphrase=passphrase, at=now, environ=os.environ)
        place = entries.begin_signing(archive, signer, at=now, environ=os.environ)
    out("Every run is signed from now on. Keep this where nobody who writes to the archive can change it:")
    out(f"signer {signer.fingerprint}")
    sys.stdout.write(f"{place.folder}\n")


@command(
    DIR,
    argument("url", metavar="URL", help="Of an RFC 3161 time-stamp authority: http or https."),
    argument(
        "--roots",
        metavar="FILE",
        type=path,
        required=True,
        help="PEM: the root certificate that the authority leads to.",
    ),
)
def authority(archive: Path, url: str, roots: Path) -> None:
    """Have every bag time-stamped from now on, and soon those that are there. The choice is an entry of the chain."""
    from runbook_lib.archive import bag, entries
    from runbook_lib.archive import timestamp_authority as tsa
    from runbook_lib.clock import SystemClock

    with bag.archive_errors(archive):
        archive.mkdir(parents=True, exist_ok=True)
        chosen = tsa.chosen(archive, url, roots)
        place = entries.begin_stamping(archive, chosen, at=SystemClock().now(), environ=os.environ)
    out(f"It works. Every run asks {url} from now on; `runbook archive stamp` asks for all that are missing.")
    sys.stdout.write(f"{place.folder}\n")


@command(DIR)
def stamp(archive: Path) -> None:
    """Ask for every time stamp that is missing. Exit 0 if none is missing now."""
    from runbook_lib.archive import bag, timestamps
    from runbook_lib.archive import timestamp_authority as tsa

    with bag.archive_errors(archive):
        if tsa.configured(archive) is None:
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"{archive} has no time-stamp authority.",
                remedy="Choose one: runbook archive authority DIR URL --roots FILE",
            )
        done = timestamps.stamp(archive)
    out(f"Time stamps that came: {done.came}. Still missing: {done.waiting}.")
    if done.problem is not None:
        raise done.problem


@command(
    DIR,
    argument("--head", metavar="DIGEST", help="Kept elsewhere: shows whether the end was cut off."),
    argument("--excerpt", action="store_true", help="DIR is what `runbook archive export` made."),
)
def verify(archive: Path, head: str | None, excerpt: bool) -> Exit:
    """Exit 0 if every bag, the chain and the signatures hold; else 1 and a line for each thing that does not."""
    from runbook_lib.archive.verify import verify as check

    audit = check(archive, head=head, excerpt=excerpt)
    if audit.findings:
        out("NOT OK: this archive is not as it was sealed.", alarm=True)
        for one in audit.findings:
            out(f"  {visible(one)}")
        return Exit.UNEXPECTED
    out(
        f"OK: {audit.bags} bags with {audit.files} files: none changed, added or missing, and the chain from the first "
        "to the last is whole."
    )
    if audit.signer:
        out(
            f"Signed: {audit.signed} bags. Compare the first signer with what you were given elsewhere; it named the "
            "next, if there is one."
        )
        out(f"First signer: {audit.signer}")
    else:
        out("NOT SIGNED: whoever could write here could have made all of it anew. Compare the head with one kept.")
    if audit.stamped:
        first, last = iso(audit.stamped[0]), iso(audit.stamped[-1])
        out(
            f"Time-stamped: {len(audit.stamped)} bags, {first} to {last}, by the authority of certs/tsa-roots.pem. "
            "Compare it too."
        )
    if audit.late:
        out(f"Signed by a certificate that was not valid at the stamped time: {audit.late} bags.")
    if audit.purged:
        out(f"Purged: {audit.purged} bags, as entries of the chain declare.")
    if excerpt:
        out(f"EXCERPT: {audit.elsewhere} bags of the archive are elsewhere; the last bag says which.")
    if audit.word:
        out(
            f"CAVEAT: nothing that binds is kept of {audit.word} bags (tombstones of the first format): what they "
            "were, and what lies before them in the chain, rests on the tombstone's word."
        )
    if audit.covered:
        out(f"Not signed themselves, but covered by the signature of a later bag: {audit.covered}")
    out("The head you gave is in the chain." if head else "Without --head a cut-off end cannot be seen.")
    if audit.head is not None:
        out(f"Head: {audit.head[0]} {audit.head[1]}")
    return Exit.DONE


@command(DIR)
def head(archive: Path) -> None:
    """Print number and digest of the last bag, for a ticket or a mail: later, `--head DIGEST` finds a cut-off end."""
    from runbook_lib.archive import bag, chain

    with bag.archive_errors(archive):
        last = chain.find_head(archive)
    if last == chain.GENESIS:
        raise RunbookError(Reason.UNREADABLE_FILE, f"{archive} holds no bag.")
    sys.stdout.write(f"{last.sequence} {last.digest}\n")


@command(DIR)
def index(archive: Path) -> None:
    """Make index.html anew from the bags, and print its path."""
    from runbook_lib.archive.bag import archive_errors
    from runbook_lib.archive.index import write_index

    with archive_errors(archive):
        sys.stdout.write(f"{write_index(archive)}\n")


@command(
    argument("before", metavar="A", help="A bag; or a day, YYYY-MM-DD: its last inventory (UTC)."),
    argument("after", metavar="B", help="The later one."),
    ARCHIVE,
    argument("--csv", metavar="FILE", type=path, help="Write the changes as CSV too."),
    argument("--html", metavar="FILE", type=path, help="Write them as a page too."),
)
def diff(before: str, after: str, archive: Path, csv: Path | None, html: Path | None) -> Exit:
    """What changed between two inventories. Exit 0, or 30 where one of them could not ask every source."""
    from rich.console import Console
    from rich.table import Table

    from runbook_lib.archive import bag
    from runbook_lib.audit.inventory_diff import compare, named
    from runbook_lib.audit.inventory_diff_page import page

    comparison = compare(named(archive, before), named(archive, after))
    table = comparison.table()
    if csv is not None:
        with bag.archive_errors(csv):
            csv.write_bytes(tables.csv_of(table))
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
        Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(shown)
    if len(table.rows) > SHOWN:
        out(f"… and {len(table.rows) - SHOWN:,} more: --csv and --html have them all.")
    out(visible(comparison.headline))
    for line in comparison.warnings:
        out(visible(line), alarm=True)
    return Exit.DONE if comparison.complete else Exit.CHECK_FAILED

"""`runbook archive verify`: checks that the archive is as it was sealed. verify.sh says the same in the same words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runbook_lib.catalogue import Exit, Reason
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import archive_argument
from runbook_lib.cli.terminal import out
from runbook_lib.clock import FixedClock, SystemClock, iso
from runbook_lib.errors import RunbookError
from runbook_lib.visible import visible
from runbook_lib.words import date_words, quantity

if TYPE_CHECKING:
    from runbook_lib.archive.verify import Verification


@click.command(cls=Command)
@archive_argument
@click.option("--head", metavar="DIGEST", help="A head kept elsewhere, to detect a cut-off end.")
@click.option("--since", metavar="DIGEST", help="A head kept elsewhere: check only what came after it.")
@click.option("--excerpt", is_flag=True, help="DIR is an excerpt, made by 'runbook archive export'.")
def command(archive: Path, head: str | None, since: str | None, excerpt: bool) -> Exit:
    """Verify every bag, the chain and the signatures.

    Exit 0 if all of them hold, else 1 with a line for each finding.
    """
    from runbook_lib.archive.verify import verify_archive as check

    if since is not None and (head is not None or excerpt):
        raise RunbookError(Reason.BAD_PARAMETER, "Use --since without --head and --excerpt: it checks its head itself.")
    now = SystemClock().now()
    audit = check(archive, head=head, since=since, excerpt=excerpt, clock=FixedClock(now))
    if audit.findings:
        out("NOT OK: this archive is not as it was sealed.", alarm=True)
        for finding in audit.findings:
            out(f"  {visible(finding)}")
        return Exit.UNEXPECTED
    files = f"{quantity(audit.bags, 'bag')} with {quantity(audit.files, 'file')}: none changed, added or missing"
    if since is not None:
        files = f"{files}; the chain is complete from there to the last bag" if audit.bags else "no bag came after it"
        out(f"OK since number {audit.since:,}: {files}.")
        out(f"NOT CHECKED: number {audit.since:,} and what came before. Now and then verify all, without --since.")
        out(f"Signed: {quantity(audit.signed, 'bag')}" + (f", the first by {audit.signer}." if audit.signer else "."))
    else:
        out(f"OK: {files}; the chain is complete from the first bag to the last.")
        _signed(audit)
    if audit.stamped:
        first, last = iso(audit.stamped[0]), iso(audit.stamped[-1])
        out(
            f"Time-stamped: {quantity(len(audit.stamped), 'bag')}, {first} to {last}, by the authority of "
            "certs/tsa-roots.pem. Compare that too."
        )
    if audit.restamped:
        first, last = iso(audit.restamped[0]), iso(audit.restamped[-1])
        out(f"Time stamps renewed: {quantity(len(audit.restamped), 'time')}, {first} to {last}.")
    if audit.lapsed:
        out(
            f"CAVEAT: {quantity(audit.lapsed, 'time stamp')} lapsed: the authority's certificate ended before a later "
            "time stamp renewed them. They prove their time only if nobody misused the authority's old key."
        )
    if audit.ends is not None and audit.ends > now:
        out(
            f"The certificate behind the newest time stamp ends on {date_words(audit.ends, now)}. Before then run: "
            f"runbook archive restamp {archive}",
            alarm=True,
        )
    if audit.late:
        out(f"Signed with a certificate that was not valid at the stamped time: {quantity(audit.late, 'bag')}.")
    if audit.purged:
        out(f"Purged: {quantity(audit.purged, 'bag')}, as archive entries declare.")
    if excerpt:
        out(f"EXCERPT: {quantity(audit.elsewhere, 'bag')} of the archive left out, listed in the last bag.")
    if audit.word:
        out(
            f"CAVEAT: no binding data for {quantity(audit.word, 'bag')} (tombstones of the first format). Only the "
            "tombstone's word vouches for what they were and for the chain before them."
        )
    if audit.covered:
        out(f"Not signed, but covered by the signature of a later bag: {quantity(audit.covered, 'bag')}.")
    out(
        "The head that you gave is in the chain."
        if head or since
        else "Without --head, a cut-off end cannot be detected."
    )
    if audit.head is not None:
        out(f"Head: {audit.head[0]} {audit.head[1]}")
    return Exit.DONE


def _signed(audit: Verification) -> None:
    if audit.signer:
        out(
            f"Signed: {quantity(audit.signed, 'bag')}. Compare the first signer with the fingerprint that you keep "
            "elsewhere; each signer names the next."
        )
        out(f"First signer: {audit.signer}")
    else:
        out(
            "NOT SIGNED: anyone who can write here could have rebuilt this archive. Compare the head below with one "
            "kept elsewhere."
        )

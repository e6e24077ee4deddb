"""`runbook archive verify`: checks that the archive is as it was sealed. verify.sh says the same in the same words."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.catalogue import Exit
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import archive_argument
from runbook_lib.cli.terminal import out
from runbook_lib.clock import iso
from runbook_lib.visible import visible
from runbook_lib.words import quantity


@click.command(cls=Command)
@archive_argument
@click.option("--head", metavar="DIGEST", help="A head kept elsewhere, to detect a cut-off end.")
@click.option("--excerpt", is_flag=True, help="DIR is an excerpt, made by 'runbook archive export'.")
def command(archive: Path, head: str | None, excerpt: bool) -> Exit:
    """Verify every bag, the chain and the signatures.

    Exit 0 if all of them hold, else 1 with a line for each finding.
    """
    from runbook_lib.archive.verify import verify_archive as check

    audit = check(archive, head=head, excerpt=excerpt)
    if audit.findings:
        out("NOT OK: this archive is not as it was sealed.", alarm=True)
        for finding in audit.findings:
            out(f"  {visible(finding)}")
        return Exit.UNEXPECTED
    out(
        f"OK: {quantity(audit.bags, 'bag')} with {quantity(audit.files, 'file')}: none changed, added or missing; the "
        "chain is complete from the first bag to the last."
    )
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
    if audit.stamped:
        first, last = iso(audit.stamped[0]), iso(audit.stamped[-1])
        out(
            f"Time-stamped: {quantity(len(audit.stamped), 'bag')}, {first} to {last}, by the authority of "
            "certs/tsa-roots.pem. Compare that too."
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
    out("The head that you gave is in the chain." if head else "Without --head, a cut-off end cannot be detected.")
    if audit.head is not None:
        out(f"Head: {audit.head[0]} {audit.head[1]}")
    return Exit.DONE

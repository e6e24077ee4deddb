"""`runbook archive verify`: whether the archive is as it was sealed."""

from __future__ import annotations

from pathlib import Path

import click

from runbook_lib.catalogue import Exit
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import archive_argument
from runbook_lib.cli.terminal import out
from runbook_lib.clock import iso
from runbook_lib.visible import visible


@click.command(cls=Command)
@archive_argument
@click.option("--head", metavar="DIGEST", help="A head kept elsewhere: shows whether the end was cut off.")
@click.option("--excerpt", is_flag=True, help="DIR is what `runbook archive export` made.")
def command(archive: Path, head: str | None, excerpt: bool) -> Exit:
    """Verify every bag, the chain and the signatures.

    Exit 0 if all of them hold, else 1 and a line for each finding.
    """
    from runbook_lib.archive.verify import verify_archive as check

    audit = check(archive, head=head, excerpt=excerpt)
    if audit.findings:
        out("NOT OK: this archive is not as it was sealed.", alarm=True)
        for finding in audit.findings:
            out(f"  {visible(finding)}")
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

"""`runbook archive init`: creates a signer for the archive."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from runbook_lib.catalogue import Reason
from runbook_lib.cli.commands import Command
from runbook_lib.cli.options import FILE, archive_option
from runbook_lib.cli.terminal import out
from runbook_lib.errors import RunbookError
from runbook_lib.programs import ARCHIVE_PASSPHRASE


@click.command(cls=Command)
@archive_option
@click.option(
    "--passphrase",
    metavar="REF",
    default=f"env:{ARCHIVE_PASSPHRASE}",
    show_default=True,
    help="Where the passphrase of the signing key is: env:NAME, file:PATH or keyring:SERVICE/USER.",
)
@click.option("--csr", is_flag=True, help="Create a request for your own CA; signing starts later.")
@click.option(
    "--certificate",
    metavar="FILE",
    type=FILE,
    help="PEM from your CA: signer, intermediates, root.",
)
@click.option("--roll-over", is_flag=True, help="Replace the signer; the old one signs the change.")
def command(archive: Path, passphrase: str, csr: bool, certificate: Path | None, roll_over: bool) -> None:
    """Create a signer for the archive, or a request for one.

    Once there is a signer, every run is signed.
    """
    from runbook_lib.archive import bag, chain, entries, signing
    from runbook_lib.clock import SystemClock

    if csr and certificate is not None:
        raise RunbookError(
            Reason.BAD_PARAMETER, "--csr requests a certificate and --certificate supplies one: use only one of them."
        )
    with bag.archive_errors(archive):
        archive.mkdir(parents=True, exist_ok=True)
        before = chain.find_head(archive).next_signer
        if before != chain.NONE and not roll_over:
            raise RunbookError(
                Reason.CONFIRMATION_MISSING,
                f"The signer of {archive} is {before}.",
                remedy="Add --roll-over to replace it.",
                title="The archive already has a signer",
            )
        now = SystemClock().now()
        if csr:
            made = signing.request_signer(archive, passphrase=passphrase, at=now, environ=os.environ)
            out(f"Have your CA certify {made} for signing. Put signer, intermediates and root into one file, then run:")
            out(f"runbook archive init --archive {archive} --certificate FILE{' --roll-over' if roll_over else ''}")
            return
        if certificate is not None:
            signer = signing.accept(archive, certificate, os.environ)
        else:
            signer = signing.make_signer(archive, passphrase=passphrase, at=now, environ=os.environ)
        place = entries.begin_signing(archive, signer, at=now, environ=os.environ)
    out("From now on every run is signed. Keep this where nobody who writes to the archive can change it:")
    out(f"signer {signer.fingerprint}")
    sys.stdout.write(f"{place.folder}\n")

"""An excerpt of an archive: the runs of a period, in a folder or a zip file that verifies by itself.

Its last bag is an entry of the job `export`, which is in the archive's chain too. It lists every bag that the excerpt
leaves out, a line each (`tombstones`). So the excerpt's chain goes from the first bag of the archive to the last, and
its signer vouches that nothing of the period is missing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path

from runbook_lib import disk
from runbook_lib.archive import bound, chain, entries, tombstones
from runbook_lib.archive.bag import archive_errors
from runbook_lib.archive.chain import EXPORT, is_expectation, is_restamp, signature_of
from runbook_lib.archive.index import write_index
from runbook_lib.archive.openssl import CERTS, TSA_ROOTS
from runbook_lib.archive.retention import day_of, must_be_whole
from runbook_lib.archive.seal import GUIDES
from runbook_lib.archive.timestamps import stamp_of
from runbook_lib.archive.tombstones import ELSEWHERE, PURGED, TombstoneLine
from runbook_lib.archive.verify import verify_archive
from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError

VERIFIER = "verify.sh"


def export_excerpt(
    archive: Path, into: Path, *, since: date, until: date, at: datetime, environ: Mapping[str, str]
) -> tuple[Path, int]:
    """Write the runs that started in a period, first and last day (UTC) included, and check what was written.

    Args:
        into: a new folder, or a new file `NAME.zip`, outside the archive.

    Returns:
        `into`, and the number of bags in it without the entry that closes it.

    Raises:
        RunbookError: BAD_PARAMETER; NOT_WHOLE; SIGNER_SHUT; DISK_FULL or ARCHIVE_FAILED.
    """
    zipped = into.suffix == ".zip"
    if into.exists():
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{into} is there.",
            remedy="Name a new folder or a new zip file.",
            title="The excerpt's file or folder already exists",
        )
    if archive.resolve() in (into.resolve(), *into.resolve().parents):
        raise RunbookError(
            Reason.BAD_PARAMETER,
            f"{into} is in {archive}.",
            remedy="Name a folder or a zip file outside the archive.",
            title="The excerpt must be outside the archive",
        )
    must_be_whole(archive)
    with entries.begun(archive, EXPORT, at=at, environ=environ) as entry:
        chosen, left_out, kept = _divide(archive, since, until)
        if all(is_restamp(place) for place in chosen):
            raise RunbookError(
                Reason.BAD_PARAMETER,
                f"No run started between {since} and {until}.",
                remedy="Choose another period.",
                title="There is nothing to export",
            )
        facts = {"from": since.isoformat(), "to": until.isoformat(), "bags": len(chosen), "elsewhere": len(left_out)}
        tags = {ELSEWHERE: tombstones.tombstone_text(left_out)}
        place = entry.seal(facts, kept=kept, tags=tags, neighbours=_neighbours(archive, chosen))
    place = entries.stamped(archive, place)
    with archive_errors(into):
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=".export-") as name:
            folder = Path(name) / into.stem if zipped else Path(name) / into.name
            _copy(archive, [*chosen, str(place.folder.relative_to(archive))], folder)
            found = verify_archive(folder, excerpt=True).findings
            if found:
                raise RunbookError(
                    Reason.NOT_WHOLE, f"{found[0]}.", remedy="The archive changed during the export. Run it again."
                )
            made = Path(shutil.make_archive(name + "/made", "zip", name, folder.name)) if zipped else folder
            made.rename(into)
    return into, len(chosen)


def _divide(archive: Path, since: date, until: date) -> tuple[list[str], list[TombstoneLine], dict[str, bytes]]:
    """The bags of the period, with all earlier expectations and later re-stamps; the bags left out, with purged ones
    unless a tombstone of the period lists them; and the binding data of those."""
    kept: dict[str, bytes] = {}
    chosen: list[str] = []
    left_out: list[TombstoneLine] = []
    for bag in chain.bags(archive):
        place = str(bag.relative_to(archive))
        purged = tombstones.read_tombstone(disk.read_file(bag / PURGED)) if (bag / PURGED).exists() else []
        # an earlier export would list bags as left out that are here
        first = date.min if is_expectation(place) else since
        # a later renewal of the time stamps is evidence for this period too
        in_it = first <= day_of(place) <= until or (is_restamp(place) and since <= day_of(place))
        if in_it and not (bag / ELSEWHERE).exists():
            chosen.append(place)
        else:
            left_out += [tombstones.of(bag), *purged]
            kept |= bound.binding_files(bag) | (bound.hand_on(bag) if purged else {})
    return sorted(chosen), left_out, kept


def _neighbours(archive: Path, chosen: list[str]) -> dict[str, str]:
    """The files next to the bags that the excerpt's last bag lists, because the bags that list them may be left out."""
    there = [f"{place}.tsr" for place in chosen if stamp_of(archive / place).exists()]
    roots = f"{CERTS}/{TSA_ROOTS}"
    if (archive / roots).exists():
        there.append(roots)
    return {path: disk.sha256(disk.read_file(archive / path)) for path in there}


def _copy(archive: Path, places: list[str], folder: Path) -> None:
    for place in places:
        bag, to = archive / place, folder / place
        shutil.copytree(bag, to)
        for seal, copied in ((signature_of(bag), signature_of(to)), (stamp_of(bag), stamp_of(to))):
            if seal.exists():
                shutil.copyfile(seal, copied)
    (folder / CERTS).mkdir(exist_ok=True)
    for certificate in (archive / CERTS).glob("*.pem"):
        disk.write_file(folder / CERTS / certificate.name, disk.read_file(certificate, follow=True))
    for name in GUIDES:
        shutil.copyfile(archive / name, folder / name)
    text = (folder / VERIFIER).read_text(encoding="utf-8")
    (folder / VERIFIER).write_text(text.replace("\nexcerpt=no\n", "\nexcerpt=yes\n", 1), encoding="utf-8")
    write_index(folder)
    (folder / chain.LOCK).unlink(missing_ok=True)

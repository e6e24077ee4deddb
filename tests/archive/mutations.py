"""Ways to tamper with an archive, each with a seed. Every one must be found, by both verifiers."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from runbook_lib.archive import bag as bag_room
from runbook_lib.archive import chain, tombstones
from runbook_lib.archive.chain import signature_of
from runbook_lib.archive.seal import BAG, into_chain
from runbook_lib.archive.signing import Signer
from runbook_lib.archive.timestamps import read_list, stamp_of
from runbook_lib.archive.tombstones import ELSEWHERE, HEADER, PURGED
from runbook_lib.disk import sha256
from tests.archive.bags import AT, places, put, started

Mutation = Callable[[Path, random.Random, Signer], None]
"""Changes the archive. The signer is a forger's own, complete with certificate."""


SPARE, GONE = ".spare", ".gone"
"""In a kept archive: a second time stamp over each bag, and the bags that were purged. Verifiers do not look there."""


def _files(archive: Path) -> list[Path]:
    """Every file that is evidence: a time stamp is, once a bag names it."""
    listed = {archive / path for bag in places(archive) for path in read_list(bag)}
    files = (path for path in archive.glob("[0-9]*/**/*") if path.is_file())
    return sorted(path for path in files if path.suffix != ".tsr" or path in listed)


def byte_flipped(archive: Path, chance: random.Random, forger: Signer) -> None:
    path = chance.choice([one for one in _files(archive) if one.stat().st_size])
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def file_cut(archive: Path, chance: random.Random, forger: Signer) -> None:
    path = chance.choice([one for one in _files(archive) if one.stat().st_size])
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size)])


def file_added(archive: Path, chance: random.Random, forger: Signer) -> None:
    bag = chance.choice(places(archive))
    where = chance.choice(
        [
            *(
                bag / "new",
                bag / ".new",
                bag / "data/new",
                bag / "data/tables/b.csv",
                bag / "data/a b",
                bag / "data/x/y",
            ),
            *(bag / "data/line\nbreak", bag / "data/-rf", bag / "data/$(id)", bag / "data/é", bag / "new.txt"),
            *(bag.parent / "new.p7s", bag.parent / "new", bag.parent.parent / "new", archive / "new"),
            archive / "2026/x",
        ]
    )
    where.parent.mkdir(exist_ok=True)
    kind = chance.randrange(4)
    if kind == 0:
        where.symlink_to(bag / "bagit.txt")
    elif kind == 1 and where.parent != bag.parent and archive not in where.parents[:2]:
        where.mkdir()
    else:
        where.write_bytes(b"" if kind == 2 else b"new\n")


def file_removed(archive: Path, chance: random.Random, forger: Signer) -> None:
    chance.choice(_files(archive)).unlink()


def file_renamed(archive: Path, chance: random.Random, forger: Signer) -> None:
    path = chance.choice(_files(archive))
    path.rename(path.with_name(f"{path.name}{chance.choice(['x', '.bak', ' ', '~'])}"))


def file_became_link(archive: Path, chance: random.Random, forger: Signer) -> None:
    path = chance.choice(_files(archive))
    elsewhere = archive / ".elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def bag_renamed(archive: Path, chance: random.Random, forger: Signer) -> None:
    bag = chance.choice(places(archive))
    _move(
        bag, bag.with_name(chance.choice([f"{bag.name}-9", bag.name.replace("T", "T1", 1)[:17] + bag.name[17:], "x"]))
    )


def bags_swapped(archive: Path, chance: random.Random, forger: Signer) -> None:
    one, other = chance.sample(places(archive), 2)
    aside = archive / ".aside"
    _move(one, aside)
    _move(other, one)
    _move(aside, other)


def bags_reordered(archive: Path, chance: random.Random, forger: Signer) -> None:
    """Two bags exchange their numbers, and everything that can be made to agree without the key is."""
    one, other = chance.sample(places(archive), 2)
    first, second = _number(one), _number(other)
    _edit(one, "sequence", str(second), quoted=False)
    _edit(other, "sequence", str(first), quoted=False)
    _recompute(archive, chance.randrange(2) == 0)


def bag_replayed(archive: Path, chance: random.Random, forger: Signer) -> None:
    bag = chance.choice(places(archive))
    copy = bag.with_name(f"{bag.name}-{chance.randrange(2, 99)}")
    shutil.copytree(bag, copy)
    for beside in (signature_of, stamp_of):
        if beside(bag).exists():
            shutil.copy(beside(bag), beside(copy))


def bag_dropped_first(archive: Path, chance: random.Random, forger: Signer) -> None:
    _drop(min(places(archive), key=_number))


def bag_dropped_in_the_middle(archive: Path, chance: random.Random, forger: Signer) -> None:
    _drop(chance.choice(sorted(places(archive), key=_number)[1:-1]))


def tail_cut(archive: Path, chance: random.Random, forger: Signer) -> None:
    """The last bags and the pointer to them: needs the head kept elsewhere."""
    ordered = sorted(places(archive), key=_number)
    for bag in ordered[chance.randrange(1, len(ordered)) :]:
        _drop(bag)
    (archive / ".head").unlink(missing_ok=True)


def chain_edited(archive: Path, chance: random.Random, forger: Signer) -> None:
    """One value of one link, with its manifests recomputed, and in half of the cases all later links too."""
    bag = chance.choice(places(archive))
    key, value, quoted = chance.choice(
        [
            ("sequence", str(_number(bag) + chance.choice([-1, 1, 7])), False),
            ("sequence", "12345678901234567890", False),
            ("previous", sha256(chance.randbytes(4)), True),
            ("previous_signature", sha256(chance.randbytes(4)), True),
            ("status", "failed", True),
            ("expected", "9", False),
            ("produced", "0", False),
            ("signer", chance.choice(["none", sha256(chance.randbytes(4)), forger.fingerprint]), True),
            ("next_signer", chance.choice(["none", forger.fingerprint]), True),
            ("bag", "2026/11/23/20261123T000000Z-other", True),
            ("more", '1,\n  "x": 2', False),
        ]
    )
    if not _edit(bag, key, value, quoted=quoted):  # it had that value
        _edit(bag, "status", "timed out", quoted=True)
    # linking all bags anew would set `previous` right again
    _recompute(archive, chance.randrange(2) == 0 and key != "previous", only=bag)


def payload_edited(archive: Path, chance: random.Random, forger: Signer) -> None:
    """A file's content, with its manifests recomputed, and in half of the cases all later links too."""
    bag = chance.choice(places(archive))
    path = chance.choice([one for one in (bag / "data").rglob("*") if one.is_file()])
    path.write_bytes(path.read_bytes() + b"more")
    manifest = bag / "manifest-sha256.txt"
    name = str(path.relative_to(bag))
    manifest.write_text(
        re.sub(rf"[0-9a-f]{{64}}  {re.escape(name)}\n", f"{sha256(path.read_bytes())}  {name}\n", manifest.read_text())
    )
    _recompute(archive, chance.randrange(2) == 0, only=bag)


def signature_removed(archive: Path, chance: random.Random, forger: Signer) -> None:
    signature_of(chance.choice(places(archive))).unlink()


def signatures_exchanged(archive: Path, chance: random.Random, forger: Signer) -> None:
    one, other = (signature_of(bag) for bag in chance.sample(places(archive), 2))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def signer_exchanged(archive: Path, chance: random.Random, forger: Signer) -> None:
    """A forger signs with a key of their own and, in steps, brings their certificate into the archive."""
    certs, bold = archive / "certs", chance.randrange(5)
    pem = forger.certificates[0].public_bytes(Encoding.PEM)
    signers = [path for path in certs.glob("*.pem") if len(path.stem) == 64]
    chosen = chance.sample(places(archive), chance.randrange(1, len(places(archive)) + 1))
    if bold >= 1:
        (certs / "roots.pem").write_bytes(pem)
    if bold == 2:
        signers[0].write_bytes(pem)
    if bold >= 3:
        (certs / f"{forger.fingerprint}.pem").write_bytes(pem)
        for bag in chosen:
            _edit(bag, "signer", forger.fingerprint, quoted=True)
            if bold == 4:
                _edit(bag, "next_signer", forger.fingerprint, quoted=True)
            _tags(bag)
    for bag in chosen:
        signature_of(bag).write_bytes(forger.sign((bag / "tagmanifest-sha256.txt").read_bytes()))


# --- time stamps, purges, holds, excerpts -----------------------------------------------------------------------------


def _stamps(archive: Path) -> list[Path]:
    """The time stamps that a bag names."""
    return [path for path in _files(archive) if path.suffix == ".tsr"]


def stamp_removed(archive: Path, chance: random.Random, forger: Signer) -> None:
    chance.choice(_stamps(archive)).unlink()


def stamps_exchanged(archive: Path, chance: random.Random, forger: Signer) -> None:
    one, other = chance.sample(_stamps(archive), 2)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def stamp_replayed(archive: Path, chance: random.Random, forger: Signer) -> None:
    """Another token of the same authority: over the same signature, but of another time; or of another bag."""
    stamp = chance.choice(_stamps(archive))
    spares = sorted((archive / SPARE).iterdir())
    same = next(one for one in spares if one.name == stamp.name)
    shutil.copy(same if chance.randrange(2) else chance.choice([one for one in spares if one != same]), stamp)


def stamp_roots_exchanged(archive: Path, chance: random.Random, forger: Signer) -> None:
    roots = archive / "certs/tsa-roots.pem"
    pem = forger.certificates[0].public_bytes(Encoding.PEM)
    roots.write_bytes(chance.choice([pem, roots.read_bytes() + pem, b""]))


def tombstone_forged(archive: Path, chance: random.Random, forger: Signer) -> None:
    """A bag goes, and a later one says that it was purged; signed by a forger, and in half of the cases linked anew."""
    *others, last = sorted(places(archive), key=_number)
    victim = chance.choice(others[1:])
    link = [line.split('": ')[1].strip(',"') for line in (victim / "chain.json").read_text().splitlines()[1:-1]]
    bag, sequence, previous, before, status, expected, produced, signer, turn = link
    digests = (
        sha256((victim / "tagmanifest-sha256.txt").read_bytes()),
        sha256(signature_of(victim).read_bytes()),
    )
    line = " ".join([sequence, bag, *digests, previous, before, signer, turn, expected, produced, status])
    tombstone = chance.choice([one for one in others if _number(one) > _number(victim)] + [last])
    old = (tombstone / PURGED).read_text() if (tombstone / PURGED).exists() else f"{HEADER}\n"
    (tombstone / PURGED).write_text(f"{old}{line}\n")
    _drop(victim)
    _recompute(archive, chance.randrange(2) == 0, only=tombstone)
    if chance.randrange(2):
        signature_of(tombstone).write_bytes(forger.sign((tombstone / "tagmanifest-sha256.txt").read_bytes()))


def tombstone_edited(archive: Path, chance: random.Random, forger: Signer) -> None:
    """One word of one line, or a line less, with the manifests recomputed, and in half of the cases all later links."""
    name = ELSEWHERE if list(archive.glob(f"*/*/*/*/{ELSEWHERE}")) else PURGED
    (file,) = archive.glob(f"*/*/*/*/{name}")
    head, *lines = file.read_text().splitlines()
    at = chance.randrange(len(lines))
    if chance.randrange(4) == 0:
        del lines[at]
    else:
        words = lines[at].split()
        word = chance.randrange(len(words))
        words[word] = chance.choice(
            [sha256(chance.randbytes(4)), "none", "7", "failed", words[(word + 1) % len(words)]]
        )
        lines[at] = " ".join([*words, "x"] if words == lines[at].split() else words)
    file.write_text("".join(f"{line}\n" for line in [head, *lines]))
    _recompute(archive, chance.randrange(2) == 0, only=file.parent)


def tombstone_unsigned(archive: Path, chance: random.Random, forger: Signer) -> None:
    """A forger without the key appends a tombstone that nobody signed, and the next honest run signs over it."""
    victim = chance.choice([bag for bag in places(archive) if bag.name.endswith("-demo")])
    told = started("purge", AT + timedelta(days=3))
    work = bag_room.BagSummary("purge", told.at, "done", expected=1, produced=1)
    with bag_room.staging(archive, told) as folder, chain.archive_lock(archive):
        files = {"purge.json": b"{}\n"} if chance.randrange(2) else {"run.json": b"{}\n"}
        tags = {PURGED: tombstones.tombstone_text([tombstones.of(victim)])}
        bag_room.fill(folder / BAG, work, told.run, files, scanner=None, tags=tags)
        into_chain(archive, folder, work, environ={})
    assert not victim.exists()
    put(archive, at=AT + timedelta(days=4))


def tombstone_dropped(archive: Path, chance: random.Random, forger: Signer) -> None:
    (file,) = archive.glob(f"*/*/*/*/{PURGED}")
    _drop(file.parent)


def bag_resurrected(archive: Path, chance: random.Random, forger: Signer) -> None:
    """A purged bag is there again, with or without what lay beside it."""
    bag = chance.choice([path.parent for path in (archive / GONE).glob("*/*/*/*/bagit.txt")])
    to = archive / bag.relative_to(archive / GONE)
    shutil.copytree(bag, to)
    if chance.randrange(3):
        shutil.copy(signature_of(bag), signature_of(to))


def hold_removed(archive: Path, chance: random.Random, forger: Signer) -> None:
    (hold,) = (bag for bag in places(archive) if bag.name.endswith("-hold"))
    if chance.randrange(2):
        _drop(hold)
        _recompute(archive, chance.randrange(2) == 0, only=places(archive)[-1])
    else:
        told = hold / "data/hold.json"
        told.write_text(told.read_text().replace("Case", "Cast"))
        manifest = hold / "manifest-sha256.txt"
        manifest.write_text(f"{sha256(told.read_bytes())}  data/hold.json\n")
        _recompute(archive, chance.randrange(2) == 0, only=hold)


UNSIGNED_TOO: tuple[Mutation, ...] = (
    *(byte_flipped, file_cut, file_added, file_removed, file_renamed, file_became_link, bag_renamed, bags_swapped),
    *(bag_replayed, bag_dropped_first, bag_dropped_in_the_middle),
)
SIGNED_ONLY: tuple[Mutation, ...] = (
    *(bags_reordered, chain_edited, payload_edited, signature_removed, signatures_exchanged, signer_exchanged),
)
WITH_HEAD: tuple[Mutation, ...] = (tail_cut,)
KEPT_ONLY: tuple[Mutation, ...] = (
    *(stamp_removed, stamps_exchanged, stamp_replayed, stamp_roots_exchanged, tombstone_forged, tombstone_edited),
    *(tombstone_unsigned, tombstone_dropped, bag_resurrected, hold_removed),
)
EXCERPT: tuple[Mutation, ...] = (*UNSIGNED_TOO, tail_cut, payload_edited, tombstone_edited, signature_removed)


def _move(bag: Path, to: Path) -> None:
    bag.rename(to)
    for beside in (signature_of, stamp_of):
        if beside(bag).exists():
            beside(bag).rename(beside(to))


def _drop(bag: Path) -> None:
    shutil.rmtree(bag)
    signature_of(bag).unlink(missing_ok=True)
    stamp_of(bag).unlink(missing_ok=True)


def _number(bag: Path) -> int:
    found = re.search(r'"sequence": ([0-9]+)', (bag / "chain.json").read_text())
    assert found
    return int(found[1])


def _edit(bag: Path, key: str, value: str, *, quoted: bool) -> bool:
    """Set a value in chain.json, or add a key; says whether that changed anything."""
    path = bag / "chain.json"
    before = path.read_text()
    new = f'"{value}"' if quoted else value
    after = re.sub(rf'("{key}": )[^,\n]*', lambda found: found[1] + new, before)
    if f'"{key}": ' not in before:
        after = before.replace("{\n", f'{{\n  "{key}": {new},\n')
    path.write_text(after)
    return after != before


def _tags(bag: Path) -> None:
    """The tag manifest anew."""
    tags = sorted(path for path in bag.iterdir() if path.is_file() and path.name != "tagmanifest-sha256.txt")
    lines = "".join(f"{sha256(path.read_bytes())}  {path.name}\n" for path in tags)
    (bag / "tagmanifest-sha256.txt").write_text(lines)


def _recompute(archive: Path, later_too: bool, only: Path | None = None) -> None:
    """Make the tag manifests agree again, and if asked for each link with the one before it."""
    if only is not None and not later_too:
        _tags(only)
        return
    previous = None
    for bag in sorted(places(archive), key=_number):
        if later_too and previous is not None:
            _edit(bag, "previous", sha256((previous / "tagmanifest-sha256.txt").read_bytes()), quoted=True)
        _tags(bag)
        previous = bag
    (archive / ".head").unlink(missing_ok=True)

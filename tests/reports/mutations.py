"""Ways to tamper with an archive, each with a seed. Every one must be found, by both verifiers."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from runbook_lib.reports.chain import sha256, signature_of
from runbook_lib.reports.signing import Signer
from tests.reports.bags import places

Mutation = Callable[[Path, random.Random, Signer], None]
"""Changes the archive. The signer is a forger's own, complete with certificate."""


def _files(archive: Path) -> list[Path]:
    """Every file that is evidence."""
    return sorted(path for path in archive.glob("[0-9]*/**/*") if path.is_file())


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
    if signature_of(bag).exists():
        shutil.copy(signature_of(bag), signature_of(copy))


def bag_dropped_first(archive: Path, chance: random.Random, forger: Signer) -> None:
    _drop(min(places(archive), key=_number))


def bag_dropped_in_the_middle(archive: Path, chance: random.Random, forger: Signer) -> None:
    _drop(chance.choice(sorted(places(archive), key=_number)[1:-1]))


def tail_cut(archive: Path, chance: random.Random, forger: Signer) -> None:
    """The last bags and the pointer to them: needs the head kept elsewhere."""
    ordered = sorted(places(archive), key=_number)
    for bag in ordered[chance.randrange(1, len(ordered)) :]:
        _drop(bag)
    (archive / ".head").unlink()


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
    signers = [path for path in certs.glob("*.pem") if path.name != "roots.pem"]
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


UNSIGNED_TOO: tuple[Mutation, ...] = (
    *(byte_flipped, file_cut, file_added, file_removed, file_renamed, file_became_link, bag_renamed, bags_swapped),
    *(bag_replayed, bag_dropped_first, bag_dropped_in_the_middle),
)
SIGNED_ONLY: tuple[Mutation, ...] = (
    *(bags_reordered, chain_edited, payload_edited, signature_removed, signatures_exchanged, signer_exchanged),
)
WITH_HEAD: tuple[Mutation, ...] = (tail_cut,)


def _move(bag: Path, to: Path) -> None:
    bag.rename(to)
    if signature_of(bag).exists():
        signature_of(bag).rename(signature_of(to))


def _drop(bag: Path) -> None:
    shutil.rmtree(bag)
    signature_of(bag).unlink(missing_ok=True)


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
    (archive / ".head").unlink()

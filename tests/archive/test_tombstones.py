"""Forgers explain a bag away by a tombstone of their own. They have everything but the head that is kept elsewhere.

The archive is unsigned: six bags over two days, an entry among them. Each forger edits the first bag, lets the second
one go, and appends a tombstone that would make it fit.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib import disk
from runbook_lib.archive import bag as bag_room
from runbook_lib.archive import bound, chain, retention, seal, signing, tombstones
from runbook_lib.archive.bound import FORMAT
from runbook_lib.archive.chain import LINK, NONE, TAGS, Link, signature_of
from runbook_lib.archive.retention import Hold
from runbook_lib.archive.tombstones import ELSEWHERE, PURGED, TombstoneLine
from runbook_lib.archive.verify import verify_archive
from tests.archive.bags import AT, ENVIRON, REFERENCE, copy, places, put, sign, small, verify_sh

pytestmark = pytest.mark.interop

LATER = AT + timedelta(days=400)


@dataclass
class Forgery:
    """An archive whose second bag is to vanish, what is declared of it, and what is kept beside that."""

    archive: Path
    lines: list[TombstoneLine]
    kept: dict[str, bytes]
    job: str = "purge"
    marked: bool = True
    name: str = PURGED

    @property
    def line(self) -> TombstoneLine:
        return self.lines[0]

    def number(self, sequence: int) -> Path:
        found = (chain.sealed_bag(self.archive, one) for one in places(self.archive))
        return next(self.archive / one.bag for one in found if one is not None and one.sequence == sequence)

    def append(self) -> Path:
        """Seal the tombstone as the last bag, with all digests right."""
        head = chain.find_head(self.archive)
        place = f"2027/12/28/20271228T000000Z-{self.job}-{head.sequence}"
        link = Link(place, head.sequence + 1, head.digest, NONE, "done", 1, 1, NONE, NONE)
        bag = self.archive / place
        files = {f"absent/{path}": content for path, content in self.kept.items()}
        work = bag_room.BagSummary(self.job, LATER, "done", expected=1, produced=1)
        tags = {self.name: tombstones.tombstone_text(self.lines), LINK: link.text()}
        bag_room.fill(bag, work, "0" * 32, {f"{self.job}.json": b"{}\n", **files}, scanner=None, tags=tags)
        if not self.marked:
            info = (bag / "bag-info.txt").read_text()
            (bag / "bag-info.txt").write_text(info.replace(f"{FORMAT}: 2\n", ""))
        close(bag)
        (self.archive / ".head").unlink(missing_ok=True)
        return bag


def close(bag: Path) -> str:
    """Both manifests anew; the digest of the tag manifest."""
    paths = sorted(one for one in (bag / "data").rglob("*") if one.is_file())
    manifest = "".join(f"{disk.sha256(one.read_bytes())}  {one.relative_to(bag)}\n" for one in paths)
    (bag / "manifest-sha256.txt").write_text(manifest)
    tags = sorted(one for one in bag.iterdir() if one.is_file() and one.name != TAGS)
    (bag / TAGS).write_text("".join(f"{disk.sha256(one.read_bytes())}  {one.name}\n" for one in tags))
    return disk.sha256((bag / TAGS).read_bytes())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    archive = small(tmp_path_factory.mktemp("whole") / "archive", signed=False, bags=5)
    retention.hold_runs(archive, Hold("Case 7", AT.date(), None, "dispute"), at=AT + timedelta(days=1), environ={})
    return archive


@pytest.fixture
def forgery(whole: Path, archive: Path) -> Forgery:
    """The first bag is edited, the second one is gone, and the genuine files that bind it are at hand."""
    made = Forgery(copy(whole, archive), [], {})
    first, second = made.number(1), made.number(2)
    (first / "data/run.json").write_bytes(b'{"forged": true}\n')
    forged = close(first)
    genuine = tombstones.of(second)
    made.lines = [replace(genuine, link=replace(genuine.link, previous=forged))]
    made.kept = {f"2/{name}": (second / name).read_bytes() for name in (LINK, TAGS)}
    shutil.rmtree(second)
    return made


def first_format(made: Forgery) -> None:
    made.kept, made.marked = {}, False


def nothing_kept(made: Forgery) -> None:
    made.kept = {}


def genuine_files_and_another_predecessor(made: Forgery) -> None:
    pass


def the_link_is_edited(made: Forgery) -> None:
    made.kept[f"2/{LINK}"] = made.line.link.text()


def the_tag_manifest_is_edited_too(made: Forgery) -> None:
    the_link_is_edited(made)
    tags = made.kept[f"2/{TAGS}"].decode().splitlines()
    tags = [f"{disk.sha256(made.kept[f'2/{LINK}'])}  {LINK}" if line.endswith(f"  {LINK}") else line for line in tags]
    made.kept[f"2/{TAGS}"] = "".join(f"{line}\n" for line in tags).encode()


def the_digest_is_edited_too(made: Forgery) -> None:
    the_tag_manifest_is_edited_too(made)
    made.lines = [replace(made.line, digest=disk.sha256(made.kept[f"2/{TAGS}"]))]


def only_the_tag_manifest_is_kept(made: Forgery) -> None:
    del made.kept[f"2/{LINK}"]


def only_the_link_is_kept(made: Forgery) -> None:
    del made.kept[f"2/{TAGS}"]


def _line_added(made: Forgery, line: str) -> None:
    the_link_is_edited(made)
    made.kept[f"2/{TAGS}"] += f"{disk.sha256(made.line.link.text())}  {line}".encode()


def the_link_is_listed_twice(made: Forgery) -> None:
    _line_added(made, f"{LINK}\n")


def the_link_is_listed_with_a_carriage_return(made: Forgery) -> None:
    _line_added(made, f"{LINK}\r\n")


def the_link_is_listed_by_a_path(made: Forgery) -> None:
    _line_added(made, f"./{LINK}\n")


def the_link_has_a_key_twice(made: Forgery) -> None:
    genuine = made.kept[f"2/{LINK}"].decode()
    lied = f'  "previous": "{made.line.link.previous}",\n'
    made.kept[f"2/{LINK}"] = genuine.replace('  "previous_sig', f'{lied}  "previous_sig').encode()


def the_link_has_a_byte_order_mark(made: Forgery) -> None:
    made.kept[f"2/{LINK}"] = b"\xef\xbb\xbf" + made.line.link.text()


def the_line_is_there_twice(made: Forgery) -> None:
    made.lines *= 2


def it_has_another_job(made: Forgery) -> None:
    made.job = "demo"


def it_is_called_an_excerpts_list(made: Forgery) -> None:
    made.name, made.job = ELSEWHERE, "export"


FORGERIES = [
    *(first_format, nothing_kept, genuine_files_and_another_predecessor, the_link_is_edited),
    *(the_tag_manifest_is_edited_too, the_digest_is_edited_too, only_the_tag_manifest_is_kept, only_the_link_is_kept),
    *(the_link_is_listed_twice, the_link_is_listed_with_a_carriage_return, the_link_is_listed_by_a_path),
    *(the_link_has_a_key_twice, the_link_has_a_byte_order_mark, the_line_is_there_twice, it_has_another_job),
    it_is_called_an_excerpts_list,
]


def both_find(archive: Path, tools: Path, *words: str, head: str | None = None) -> None:
    found = verify_archive(archive, head=head).findings
    seen = verify_sh(archive, tools, *(("--head", head) if head else ()))
    assert seen.returncode == 1, seen.stdout + seen.stderr
    for word in words or ("",):
        assert any(word in one for one in found), found
        assert word in seen.stdout, seen.stdout


@pytest.mark.parametrize("forge", FORGERIES)
def test_no_tombstone_explains_away_a_bag_that_the_kept_head_binds(
    whole: Path, forgery: Forgery, tools: Path, forge: Callable[[Forgery], None]
) -> None:
    forge(forgery)
    forgery.append()
    both_find(forgery.archive, tools, head=chain.find_head(whole).digest)


def appended(whole: Path, archive: Path, victim: int, *, gone: bool = True) -> Forgery:
    """A tombstone by which nothing was edited: it has all that binds."""
    made = Forgery(copy(whole, archive), [], {})
    bag = made.number(victim)
    made.lines = [tombstones.of(bag)]
    made.kept = {f"{victim}/{name}": (bag / name).read_bytes() for name in (LINK, TAGS)}
    if gone:
        shutil.rmtree(bag)
    return made


def test_a_tombstone_that_binds_holds_and_one_for_a_bag_that_is_there_does_not(
    whole: Path, archive: Path, tools: Path, tmp_path: Path
) -> None:
    head = chain.find_head(whole).digest
    appended(whole, archive, 2).append()
    audit = verify_archive(archive, head=head)
    assert (audit.findings, audit.purged, audit.word) == ((), 1, 0)
    seen = verify_sh(archive, tools, "--head", head)
    assert (seen.returncode, "CAVEAT" in seen.stdout) == (0, False), seen.stdout
    there = appended(whole, tmp_path / "there", 2, gone=False)
    there.append()
    both_find(there.archive, tools, "purged or left out, but present", head=head)


def test_an_entry_of_the_archives_own_is_never_purged_nor_is_a_tombstone(
    whole: Path, archive: Path, tools: Path, tmp_path: Path
) -> None:
    appended(whole, archive, 6).append()  # the hold
    both_find(archive, tools, "an archive entry that is never purged")
    made = appended(whole, tmp_path / "two", 2)
    made.append()
    over = appended(made.archive, tmp_path / "over", 7)
    over.lines += made.lines
    over.kept |= made.kept
    over.append()
    both_find(over.archive, tools, "an archive entry that is never purged")


def test_a_tombstone_names_only_what_comes_before_it(whole: Path, archive: Path, tools: Path) -> None:
    made = Forgery(copy(whole, archive), [], {})
    later = Link("2026/11/24/20261124T230000Z-demo", 8, "0" * 64, NONE, "done", 1, 1, NONE, NONE)
    made.lines = [TombstoneLine(later, "1" * 64, NONE)]
    made.append()
    both_find(archive, tools, "which does not come before it")


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_what_is_kept_is_an_ordinary_file(whole: Path, archive: Path, tools: Path, kind: str) -> None:
    made = appended(whole, archive, 2)
    kept = made.append() / "data/absent/2" / LINK
    kept.rename(archive / ".link")
    if kind == "fifo":
        os.mkfifo(kept)
    elif kind == "link":
        kept.symlink_to(archive / ".link")
    else:
        kept.mkdir()
    both_find(archive, tools, "data/absent/2: does not match")


def test_a_tombstone_of_the_first_format_is_told_and_so_is_an_excerpt_that_hands_it_on(
    archive: Path, tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the version before made them: nothing kept, and no bag says its format."""
    fill = bag_room.fill

    def unmarked(bag: Path, *given: object, **more: object) -> None:
        fill(bag, *given, **more)  # type: ignore[arg-type]
        info = (bag / "bag-info.txt").read_text()
        (bag / "bag-info.txt").write_text(info.replace(f"{FORMAT}: 2\n", ""))

    with monkeypatch.context() as patched:
        for module in (bag_room, __import__("runbook_lib.archive.entries", fromlist=["fill"])):
            patched.setattr(module, "fill", unmarked)
        patched.setattr(bound, "binding_files", lambda _: {})
        small(archive, signed=False, bags=5)
        early = chain.sealed_bag(archive, places(archive)[0])
        what = retention.plan(archive, AT.date(), at=LATER)
        retention.purge_runs(archive, what, why="a year", at=LATER, environ={})
    assert early is not None
    head = chain.find_head(archive).digest
    for _ in range(2):
        audit = verify_archive(archive, head=head)
        assert (audit.findings, audit.word) == ((), len(what.goes))
        seen = verify_sh(archive, tools, "--head", head)
        assert (seen.returncode, f"CAVEAT: no binding data for {len(what.goes)} bags" in seen.stdout) == (
            0,
            True,
        )
        assert verify_sh(archive, tools, "--head", early.digest).returncode == 0
        put(archive, at=LATER + timedelta(days=1))  # and a run of today's version after it
    into = tmp_path / "excerpt"
    from runbook_lib.archive import excerpt

    day = (LATER + timedelta(days=1)).date()
    excerpt.export_excerpt(archive, into, since=day, until=day, at=LATER + timedelta(days=2), environ={})
    audit = verify_archive(into, excerpt=True)
    assert (audit.findings, audit.word) == ((), len(what.goes))
    seen = verify_sh(into, tools)
    assert (seen.returncode, "CAVEAT" in seen.stdout) == (0, True), seen.stdout
    # what the older tombstone did not say is not believed
    last = places(into)[-1]
    (file,) = last.glob("data/absent/*/purged.txt")
    file.unlink()
    close(last)
    found = verify_archive(into, excerpt=True).findings
    assert any("not of the first format" in one for one in found), found
    assert "not of the first format" in verify_sh(into, tools).stdout


def test_a_forger_with_a_key_of_their_own_does_not_pass_for_the_first_signer(archive: Path, tools: Path) -> None:
    """All of it is made anew; bags that never were are said to be purged, signed by the true signer, and to name the
    forger as the next one."""
    true = sign(archive, AT)
    genuine = {path.name: path.read_bytes() for path in (archive / "certs").iterdir()}
    shutil.rmtree(archive)
    forger = signing.make_signer(archive, passphrase=REFERENCE, at=AT, environ=ENVIRON)
    for name, content in genuine.items():
        if name not in ("roots.pem", "signer.json"):
            (archive / "certs" / name).write_bytes(content)
    with (archive / "certs/roots.pem").open("ab") as roots:
        roots.write(genuine["roots.pem"])
    invented = Link(
        "2026/11/22/20261122T000000Z-demo", 1, NONE, NONE, "done", 1, 1, true.fingerprint, forger.fingerprint
    )
    tags = f"{disk.sha256(invented.text())}  {LINK}\n".encode()
    signature = forger.sign(tags)
    line = TombstoneLine(invented, disk.sha256(tags), disk.sha256(signature))
    place = "2027/12/28/20271228T000000Z-purge"
    link = Link(place, 2, line.digest, line.signature, "done", 1, 1, forger.fingerprint, forger.fingerprint)
    kept = {f"absent/1/{name}": one for name, one in ((LINK, invented.text()), (TAGS, tags), ("bag.p7s", signature))}
    bag = archive / place
    work = bag_room.BagSummary("purge", LATER, "done", expected=1, produced=1)
    lists = {PURGED: tombstones.tombstone_text([line]), LINK: link.text()}
    bag_room.fill(bag, work, "0" * 32, {"purge.json": b"{}\n", **kept}, scanner=None, tags=lists)
    close(bag)
    signature_of(bag).write_bytes(forger.sign((bag / TAGS).read_bytes()))
    seal.write_guides(archive)
    both_find(archive, tools, "the kept signature does not verify")

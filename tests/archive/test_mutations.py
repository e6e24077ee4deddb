"""Thousands of changes to an archive: each is found by `archive verify` and by verify.sh; an untouched copy passes.

`make test` takes a few of each kind; RUNBOOK_SOAK=1 ten thousand, with the seed in RUNBOOK_SEED (default 1) and
RUNBOOK_EACH of each kind (default 150). Counts are written to $RUNBOOK_COUNTS if it is set.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib.archive import chain, entries, excerpt, retention, signing, timestamp_authority
from runbook_lib.archive.retention import Hold
from runbook_lib.archive.signing import Signer
from runbook_lib.archive.timestamps import stamp_of
from runbook_lib.archive.verify import verify_archive
from tests.archive import mutations, tsa
from tests.archive.bags import AT, ENVIRON, REFERENCE, copy, places, put, sign, small, verify_sh
from tests.archive.mutations import EXCERPT, KEPT_ONLY, SIGNED_ONLY, UNSIGNED_TOO, WITH_HEAD, Mutation
from tests.soak import SOAK

SEED = int(os.environ.get("RUNBOOK_SEED", "1"))
EACH = int(os.environ.get("RUNBOOK_EACH", "150"))
"""A soak's. `make test` takes a few."""

KINDS = [
    *(("signed", kind) for kind in (*UNSIGNED_TOO, *SIGNED_ONLY, *WITH_HEAD)),
    *(("unsigned", kind) for kind in (*UNSIGNED_TOO, *WITH_HEAD)),
    *(("kept", kind) for kind in (*KEPT_ONLY, *UNSIGNED_TOO, *SIGNED_ONLY, *WITH_HEAD)),
    *(("excerpt", kind) for kind in EXCERPT),
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By name: signed, unsigned; kept: signed, stamped, renewed, partly held, partly purged; an excerpt of that."""
    folder = tmp_path_factory.mktemp("originals")
    bags = 4 if SOAK else 6
    made = {name: small(folder / name, signed=name == "signed", bags=bags) for name in ("signed", "unsigned")}
    return made | _kept(folder)


def _kept(folder: Path) -> dict[str, Path]:
    archive = folder / "kept"
    sign(archive, AT - timedelta(days=3))
    with tsa.authority(folder / "tsa") as source:
        chosen = timestamp_authority.chosen(archive, source.url, source.roots)
        entries.begin_stamping(archive, chosen, at=AT - timedelta(days=3), environ=ENVIRON)
        for hours in (-48, -40, 0, 1):
            put(archive, at=AT + timedelta(hours=hours))
        case = Hold("Case 7", AT.date(), None, "dispute")
        retention.hold_runs(archive, case, at=AT + timedelta(hours=2), environ=ENVIRON)
        what = retention.plan(archive, AT.date(), at=AT)
        for one in what.goes:
            bag, to = archive / one.link.bag, archive / mutations.GONE / one.link.bag
            shutil.copytree(bag, to)
            shutil.copy(chain.signature_of(bag), chain.signature_of(to))
        retention.purge_runs(archive, what, why="a year", at=AT + timedelta(hours=3), environ=ENVIRON)
        entries.restamp(archive, at=AT + timedelta(hours=3), environ=ENVIRON)
        put(archive, at=AT + timedelta(hours=4))
        (archive / mutations.SPARE).mkdir()
        for bag in places(archive):
            spare = source.reply(source.query(chain.signature_of(bag).read_bytes()))
            (archive / mutations.SPARE / stamp_of(bag).name).write_bytes(spare)
        day = AT.date()
        part, _ = excerpt.export_excerpt(
            copy(archive, folder / "again"), folder / "excerpt", since=day, until=day, at=AT, environ=ENVIRON
        )
    return {"kept": archive, "excerpt": part}


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    folder = tmp_path_factory.mktemp("forger")
    return signing.make_signer(folder, passphrase=REFERENCE, at=AT, environ=ENVIRON)


@pytest.mark.interop
@pytest.mark.timeout(4000)
@pytest.mark.parametrize(("name", "kind"), KINDS, ids=lambda one: getattr(one, "__name__", one))
def test_every_change_is_found_by_both_and_the_untouched_archive_passes(
    name: str, kind: Mutation, originals: dict[str, Path], forger: Signer, tools: Path, tmp_path: Path
) -> None:
    original = originals[name]
    part = name == "excerpt"
    head = chain.find_head(original).digest if kind in WITH_HEAD and not part else None
    more = ("--head", head) if head else ()
    each = EACH if SOAK else 3 if name in ("signed", "unsigned") or kind in KEPT_ONLY else 1
    for number in range(each):
        archive = copy(original, tmp_path / "archive")
        assert verify_archive(archive, head=head, excerpt=part).findings == ()
        if number % 10 == 0:
            untouched = verify_sh(archive, tools, *more)
            assert untouched.returncode == 0, untouched.stdout
        seed = f"{SEED} {name} {kind.__name__} {number}"
        kind(archive, random.Random(seed), forger)  # noqa: S311 - not for secrets
        assert verify_archive(archive, head=head, excerpt=part).findings, f"archive verify does not see {seed}"
        seen = verify_sh(archive, tools, *more)
        assert seen.returncode == 1, f"verify.sh does not see {seed}: {seen.stdout}{seen.stderr}"
        assert seen.stdout.startswith("NOT OK"), seed
        shutil.rmtree(archive)
    if "RUNBOOK_COUNTS" in os.environ:
        with Path(os.environ["RUNBOOK_COUNTS"]).open("a") as counts:
            counts.write(json.dumps({"kind": kind.__name__, "archive": name, "found": each}) + "\n")


@pytest.mark.interop
def test_a_cut_tail_is_seen_by_nobody_without_the_head_kept_elsewhere(
    originals: dict[str, Path], forger: Signer, tools: Path, tmp_path: Path
) -> None:
    archive = copy(originals["signed"], tmp_path / "archive")
    early = chain.find_head(archive).digest
    mutations.tail_cut(archive, random.Random(SEED), forger)  # noqa: S311
    assert verify_archive(archive).findings == ()
    assert verify_sh(archive, tools).returncode == 0
    (finding,) = verify_archive(archive, head=early).findings
    assert "cut off" in finding
    assert "cut off" in verify_sh(archive, tools, "--head", early).stdout

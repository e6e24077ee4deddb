"""Thousands of changes to an archive: each is found by `archive verify` and by verify.sh; an untouched copy passes.

`make test` takes a few of each kind; RUNBOOK_SOAK=1 ten thousand, with the seed in RUNBOOK_SEED (default 1) and
RUNBOOK_EACH of each kind (default 345). Counts are written to $RUNBOOK_COUNTS if it is set.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from runbook_lib.reports import chain, signing
from runbook_lib.reports.signing import Signer
from runbook_lib.reports.verify import verify
from tests.reports import mutations
from tests.reports.bags import AT, ENVIRON, REFERENCE, bare_path, copy, small, verify_sh
from tests.reports.mutations import SIGNED_ONLY, UNSIGNED_TOO, WITH_HEAD, Mutation
from tests.soak import SOAK

SEED = int(os.environ.get("RUNBOOK_SEED", "1"))
EACH = int(os.environ.get("RUNBOOK_EACH", "345")) if SOAK else 5
KINDS = [
    *((True, kind) for kind in (*UNSIGNED_TOO, *SIGNED_ONLY, *WITH_HEAD)),
    *((False, kind) for kind in (*UNSIGNED_TOO, *WITH_HEAD)),
]


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    folder = tmp_path_factory.mktemp("originals")
    bags = 4 if SOAK else 6
    return {signed: small(folder / f"signed {signed}", signed=signed, bags=bags) for signed in (True, False)}


@pytest.fixture(scope="module")
def forger(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    folder = tmp_path_factory.mktemp("forger")
    return signing.make(folder, passphrase=REFERENCE, at=AT, environ=ENVIRON)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bare_path(tmp_path_factory.mktemp("tools") / "bin")


@pytest.mark.interop
@pytest.mark.timeout(4000)
@pytest.mark.parametrize(("signed", "kind"), KINDS, ids=lambda one: getattr(one, "__name__", f"signed={one}"))
def test_every_change_is_found_by_both_and_the_untouched_archive_passes(
    signed: bool, kind: Mutation, originals: dict[bool, Path], forger: Signer, tools: Path, tmp_path: Path
) -> None:
    original = originals[signed]
    head = chain.find_head(original).digest if kind in WITH_HEAD else None
    more = ("--head", head) if head else ()
    for number in range(EACH):
        archive = copy(original, tmp_path / "archive")
        if number % (20 if SOAK else 2) == 0:
            assert verify(archive, head=head).findings == ()
            untouched = verify_sh(archive, tools, *more)
            assert untouched.returncode == 0, untouched.stdout
        elif SOAK:
            assert verify(archive, head=head).findings == ()
        seed = f"{SEED} {signed} {kind.__name__} {number}"
        kind(archive, random.Random(seed), forger)  # noqa: S311 - not for secrets
        assert verify(archive, head=head).findings, f"archive verify does not see {seed}"
        seen = verify_sh(archive, tools, *more)
        assert seen.returncode == 1, f"verify.sh does not see {seed}: {seen.stdout}{seen.stderr}"
        assert seen.stdout.startswith("NOT OK"), seed
        shutil.rmtree(archive)
    if "RUNBOOK_COUNTS" in os.environ:
        with Path(os.environ["RUNBOOK_COUNTS"]).open("a") as counts:
            counts.write(json.dumps({"kind": kind.__name__, "signed": signed, "found": EACH}) + "\n")


@pytest.mark.interop
def test_a_cut_tail_is_seen_by_nobody_without_the_head_kept_elsewhere(
    originals: dict[bool, Path], forger: Signer, tools: Path, tmp_path: Path
) -> None:
    archive = copy(originals[True], tmp_path / "archive")
    early = chain.find_head(archive).digest
    mutations.tail_cut(archive, random.Random(SEED), forger)  # noqa: S311
    assert verify(archive).findings == ()
    assert verify_sh(archive, tools).returncode == 0
    (finding,) = verify(archive, head=early).findings
    assert "cut off" in finding
    assert "cut off" in verify_sh(archive, tools, "--head", early).stdout

"""`runbook archive list` and `show`: what is in an archive, in a terminal."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from runbook_lib.archive import chain
from runbook_lib.catalogue import Exit
from runbook_lib.cli.root import run_words
from runbook_lib.result import Table
from tests.archive import bags, many
from tests.archive.many import FIRST, Told


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A run a day: two inventories, of which the second failed, and a check between them."""
    table = Table(name="certificates", title="Certificates", columns=("name",), rows=(("a",), ("b",)))
    many.write(
        tmp_path,
        [
            Told("inventory", FIRST, needs_action=2, headline="Two need \x1b[31mred\nones.", tables=(table,)),
            Told("verify", FIRST + timedelta(days=1)),
            Told("inventory", FIRST + timedelta(days=2), status="failed", verdict=None),
        ],
    )
    return tmp_path


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    assert run_words(["archive", "list", *words]) == Exit.DONE
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_the_bags_are_listed_the_newest_at_the_end(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = "2023/11/01/20231101T061700Z-inventory"
    assert listed(capsys, str(archive)) == [
        ["2023-11-01T06:17:00Z", "done", "2", "need", "action", place],
        ["2023-11-02T06:17:00Z", "done", "2023/11/02/20231102T061700Z-verify"],
        ["2023-11-03T06:17:00Z", "failed", "2023/11/03/20231103T061700Z-inventory"],
    ]
    assert [line[0][:10] for line in listed(capsys, str(archive), "--job", "inventory")] == ["2023-11-01", "2023-11-03"]
    assert [line[0][:10] for line in listed(capsys, str(archive), "--last", "1")] == ["2023-11-03"]
    assert run_words(["archive", "list", str(archive / "none")]) == Exit.UNEXPECTED
    assert "[archive_failed]" in capsys.readouterr().err


def test_a_bag_is_shown_by_its_name_and_by_its_path(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bag = list(chain.bags(archive))[-1]
    assert run_words(["archive", "show", bag.name, "--archive", str(archive)]) == Exit.DONE
    shown = capsys.readouterr().out
    assert run_words(["archive", "show", str(bag)]) == Exit.DONE
    assert capsys.readouterr().out == shown
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert f"Bag: {bag}" in lines
    assert {"Job: inventory", "Status: done", "By: runbooks on build-7", "Need action: 2"} <= set(lines)
    assert r"ok Look: Two need \x1b[31mred\x0aones." in lines
    assert f"2 rows: {bag}/data/tables/certificates.csv" in lines


def test_what_is_no_run_or_not_there_is_told(archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_words(["archive", "show", "20231103T061700Z-inventory", "--archive", str(archive)]) == Exit.DONE
    assert "Error:         The run was failed. It ended early." in capsys.readouterr().out
    bags.sign(archive)
    signer = next(iter(chain.bags(archive)))
    assert run_words(["archive", "show", str(signer)]) == Exit.DONE
    assert "Holds:         New signer." in capsys.readouterr().out
    assert run_words(["archive", "show", "20231103T061700Z-rotate", "--archive", str(archive)]) == Exit.USAGE
    assert f"runbook archive list {archive}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x" * 300, "y/" * 3000, "\ud800", "\0"])
def test_what_cannot_be_a_path_is_no_bag(archive: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    assert run_words(["archive", "show", name, "--archive", str(archive)]) == Exit.USAGE
    assert "holds no bag" in capsys.readouterr().err

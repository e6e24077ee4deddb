"""Fleet files, and the CSV files that a spreadsheet exports."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import strategies as st

from runbook_lib.archive.expectation import read_expectation as read_expectation
from runbook_lib.fleet.file import Shard, read_fleet
from runbook_lib.sandbox.faults import read_rules_file
from tests.fuzz.doors import door, fuzz, mutated, text

PARAMETERS = Path(__file__).parents[2] / "parameters"
EXPECTED = (PARAMETERS / "expected" / "nightly.yaml").read_bytes()
FLEET = (PARAMETERS / "fleet.yaml").read_bytes()
CSV = "account,environment,api_key,due_days\r\nMüller,demo,env:A,60\r\n0012,,env:B,\r\n".encode()

cells = text | st.sampled_from(["account", "api_key", "env:A", "due_days"])
rows = st.lists(st.lists(cells, max_size=5), max_size=5)


def as_csv(written: list[list[str]], delimiter: str, end: str, encoding: str) -> bytes:
    return end.join(delimiter.join(row) for row in [["account", "api_key"], *written]).encode(encoding, "surrogatepass")


def a_file(content: bytes, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(content)
        fleet = door(lambda: read_fleet(file))
        if fleet is not None:
            assert fleet.accounts
            assert len({one.slug for one in fleet.accounts}) == len(fleet.accounts)


@fuzz(
    rows,
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_a_csv_file_is_read_or_refused(written: list[list[str]], delimiter: str, end: str, encoding: str) -> None:
    a_file(as_csv(written, delimiter, end, encoding), "accounts.csv")


@fuzz(mutated(CSV))
def test_so_is_one_whose_bytes_are_damaged(content: bytes) -> None:
    a_file(content, "accounts.csv")


@fuzz(mutated(FLEET))
def test_so_is_a_fleet_file(content: bytes) -> None:
    a_file(content, "fleet.yaml")


@fuzz(
    mutated(EXPECTED)
    | st.builds(lambda one, two: f"expected: [{{job: {one}, from: {two}}}]".encode(errors="replace"), text, text)
)
def test_so_is_an_expectation(content: bytes) -> None:
    found = door(lambda: read_expectation(content, "expected.yaml"))
    for one in found.expected if found else ():
        str(one)


@fuzz(st.sampled_from(sorted((PARAMETERS / "faults").glob("*.yaml"))).flatmap(lambda file: mutated(file.read_bytes())))
def test_so_are_rules_of_faults(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "faults.yaml"
        file.write_bytes(content)
        door(lambda: read_rules_file(file))


@fuzz(st.builds("{}/{}".format, st.integers() | text, st.integers() | text) | text)
def test_so_is_a_part_of_a_fleet(words: str) -> None:
    part = door(lambda: Shard.parse(words))
    assert part is None or 1 <= part.number <= part.of

"""What the documents name exists, and what must be in them is."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import subprocess
from functools import cache, reduce
from pathlib import Path
from typing import Any

import nbformat
import pytest
from PIL import Image

from runbook_lib.catalogue import CATALOGUE, Exit, Reason
from runbook_lib.cli.commands import Command
from runbook_lib.notebooks import NOTEBOOKS
from runbook_lib.procedures.procedure import Procedure, Step
from tests import reference
from tests.cli.commands import commands, options

COMMANDS = commands()
ROOT = Path(__file__).parents[1]
MAP = ROOT / "docs" / "tutorial-map.md"
README = ROOT / "README.md"
REFERENCE = ROOT / "docs" / "reference.md"
MEASURED = ROOT / "docs" / "measured.md"
GUIDES = [ROOT / "docs" / f"{reader}.md" for reader in ("analyst", "scheduler", "compliance")]
DOCUMENTS = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "deploy").glob("*.md"),
        *(ROOT / "tests").rglob("*.md"),
    ]
)

HEADINGS = (
    "Before you begin",
    "Step 1: Generate a certificate signing request (CSR)",
    "Step 2: Request a client authentication certificate",
    "Step 3: Extract the certificate from response.json",
    "Step 4: Create PKCS#12 file",
    "Step 4: Delete sensitive files",
    "Step 5: Test mTLS authentication",
    "Step 6: Manage certificate access (enable/disable)",
    "Step 6: Verify access is revoked",
    "Step 6: Re-enable the certificate",
    "Check certificate expiration",
    "What happens at expiration",
    "Best practices: Set up monitoring",
    "Best practices: Rotation workflow (zero-downtime)",
    "Rotation workflow 1: Generate new certificate 30-60 days before expiration",
    "Rotation workflow 2: Test new certificate in non-production environment",
    "Rotation workflow 3 and 4: Update and deploy the configuration",
    "Rotation workflow 5: Verify new certificate working",
    "Rotation workflow 6: Disable old certificate (Step 6)",
    "Rotation workflow 7: Monitor for any failed authentications",
    "Rotation workflow 8: Delete old certificate files after 7-day grace period",
    "Use mTLS (client certificate) for",
    "Common errors and solutions",
)
"""The tutorial's headings, and the steps of its rotation workflow."""

ERRORS = ("duplicate_error", "no_access", "invalid_input_field", "AUTHORIZATION_ERROR")
ENDPOINTS = (
    "POST /account/api/v1/client-auth-certificate",
    "GET /account/api/v1/client-auth-certificate",
    "GET /account/api/v1/user/me",
    "PUT /account/api/v1/client-auth-certificate/CERT_ID/enable",
)

FUNCTION = re.compile(r"`(runbook_lib(?:\.\w+)+:[\w.]+)`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
NOTEBOOK = re.compile(r"\[(\w+)\]\(\.\./notebooks/(\w+)\.ipynb\)")

each_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The body rows of every table of a page, as cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    found = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    heads = {number - 1 for number, line in enumerate(lines) if re.fullmatch(r"[|\-: ]+", line)}
    return [
        [cell.strip("| ") for cell in row]
        for number, row in enumerate(found)
        if number not in heads and number - 1 not in heads
    ]


def find(name: str) -> Any:
    """What `module:Class.method` names. Raises ImportError or AttributeError."""
    module, _, qualified = name.partition(":")
    return reduce(getattr, qualified.split("."), importlib.import_module(module))


@cache
def cases_in(file: str) -> frozenset[str]:
    body = ast.parse(read(ROOT / file)).body
    return frozenset(one.name for one in body if isinstance(one, ast.FunctionDef) and one.name.startswith("test_"))


def notebook_steps() -> list[tuple[str, type[Procedure[Any]], Step]]:
    """Every step that a notebook runs: the notebook, its procedure, the step."""
    found: list[tuple[str, type[Procedure[Any]], Step]] = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook: Any = nbformat.read(path, as_version=4)
        source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
        imported = re.search(r"from (runbook_lib\.(?:procedures|audit)\.\w+) import (\w+)", source)
        assert imported
        procedure: type[Procedure[Any]] = find(f"{imported[1]}:{imported[2]}")
        run = re.findall(rf"runbook\.step\({imported[2]}\.(\w+)\)", source)
        assert run
        found += [(path.stem, procedure, procedure.step(name.replace("_", "-"))) for name in run]
    return found


# --- the tutorial map -------------------------------------------------------------------------------------------------


def test_every_function_that_the_map_names_exists():
    names = FUNCTION.findall(read(MAP))
    assert len(names) > 30
    for name in names:
        find(name)


def test_every_test_that_the_map_names_exists():
    named = TEST.findall(read(MAP))
    assert len(named) > 30
    assert [f"{file}::{test}" for file, test in named if test not in cases_in(file)] == []


def test_every_notebook_that_the_map_names_exists_and_runs_the_step_beside_it():
    assert all(shown == file for shown, file in NOTEBOOK.findall(read(MAP)))
    run = {(stem, find_name(step)) for stem, _, step in notebook_steps()}
    steps = {name for _, name in run}
    for row in rows(read(MAP)):
        notebooks = {file for _, file in NOTEBOOK.findall(" ".join(row))}
        for name in set(FUNCTION.findall(" ".join(row))) & steps:
            assert not notebooks or any((stem, name) in run for stem in notebooks), (name, notebooks)


def find_name(step: Step) -> str:
    return f"{step.method.__module__}:{step.method.__qualname__}"


def test_a_name_that_does_not_exist_would_be_noticed():
    with pytest.raises(AttributeError):
        find("runbook_lib.procedures.issue:Issue.renew")
    with pytest.raises(ImportError):
        find("runbook_lib.procedures.renew:Renew")
    assert "test_a_certificate_is_renewed" not in cases_in("tests/procedures/test_issue.py")


@pytest.mark.parametrize("heading", [*HEADINGS, *ERRORS, *ENDPOINTS])
def test_every_part_of_the_tutorial_has_a_row_with_a_function_and_a_test(heading: str):
    found = [row for row in rows(read(MAP)) if row[0].replace("`", "").startswith(heading)]
    assert found, heading
    for row in found:
        assert FUNCTION.search(" ".join(row)), row
        assert TEST.search(" ".join(row)), row


def test_every_step_that_says_it_carries_out_a_part_of_the_tutorial_is_in_that_parts_row():
    stated = [(procedure, step) for _, procedure, step in notebook_steps() if step.tutorial]
    assert len(stated) >= 11
    for _, step in stated:
        part = re.split(r"[,:]", step.tutorial)[0]
        mapped = [row for row in rows(read(MAP)) if row[0].startswith(part)]
        assert any(find_name(step) in FUNCTION.findall(" ".join(row)) for row in mapped), (part, step.slug)


def test_the_reasons_in_the_map_are_those_of_the_catalogue_with_the_notebook_that_fixes_them():
    errors = [row for row in rows(read(MAP)) if len(row) == 5]
    assert len(errors) >= len(ERRORS)
    for row in errors:
        reason = Reason(row[1].strip("`"))
        ((_, notebook),) = NOTEBOOK.findall(row[3])
        assert notebook == CATALOGUE[reason].notebook, reason


# --- every document ---------------------------------------------------------------------------------------------------


def anchors(path: Path) -> set[str]:
    """What a link may name on a page: its headings, as GitHub writes them."""
    prose = re.sub(r"^```.*?^```", "", read(path), flags=re.DOTALL | re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    }


def leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    path = page.parent / name if name else page
    return path.exists() and (not anchor or anchor in anchors(path))


@each_document
def test_every_relative_link_leads_somewhere(path: Path):
    found = [target for target in re.findall(r"\]\(([^)\s]+)\)", read(path)) if not re.match(r"https?://", target)]
    assert [target for target in found if not leads_somewhere(path, target)] == []


def test_a_link_that_leads_nowhere_would_be_noticed():
    assert leads_somewhere(README, "docs/reference.md#exit-codes")
    assert not leads_somewhere(README, "docs/reference.md#exit-code")
    assert not leads_somewhere(README, "docs/references.md")


@each_document
def test_every_test_file_that_a_document_names_exists(path: Path):
    for name in re.findall(r"`((?:tests|runbook_lib|docs|notebooks|parameters)/[\w./-]+)`", read(path)):
        assert (ROOT / name).exists(), name


def test_a_document_says_nothing_of_files_that_git_does_not_keep():
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    assert {str(path.relative_to(ROOT)) for path in DOCUMENTS} <= set(kept)


# --- README, guides, reference ----------------------------------------------------------------------------------------


def test_the_readme_is_a_page_and_no_manual():
    assert len(read(README).splitlines()) <= 120


@pytest.mark.parametrize("path", GUIDES, ids=lambda path: path.stem)
def test_a_guide_begins_with_what_its_reader_can_do_after_it_and_the_readme_leads_to_it(path: Path):
    assert read(path).split("\n\n")[1].startswith("After this page you can ")
    assert f"](docs/{path.name})" in read(README)


def test_the_analysts_guide_lists_every_notebook_that_exists_and_no_other():
    listed = [file for _, file in NOTEBOOK.findall(read(GUIDES[0]))]
    assert listed == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert sorted(listed) == sorted(NOTEBOOKS.values())


def test_the_schedulers_guide_says_of_every_exit_code_what_to_do():
    first = " ".join(row[0] for row in rows(read(GUIDES[1])))
    assert sorted(map(int, re.findall(r"\d+", first))) == sorted(int(code) for code in Exit)


def test_the_reference_says_what_the_program_says():
    page = read(REFERENCE)
    assert set(re.findall(r"<!-- made by tests/reference\.py: (.*?) -->", page)) == set(reference.PARTS)
    assert page == reference.made(page), "run: .venv/bin/python -m tests.reference"


def test_a_reference_that_has_grown_old_would_be_noticed():
    page = read(REFERENCE)
    for said, other in (("| `due_days`", "| `due_day`"), ("| 40 |", "| 42 |"), ("| `api_key_refused`", "| `refused`")):
        old = page.replace(said, other)
        assert old != page
        assert reference.made(old) == page


def test_the_reference_lists_every_variable_that_the_program_reads_or_sets():
    source = "\n".join(read(path) for path in sorted((ROOT / "runbook_lib").rglob("*.py")))
    named = set(re.findall(r"\b(?:DIGICERT_ONE|RUNBOOK)_[A-Z0-9_]+\b", source))
    listed = set(re.findall(r"`((?:DIGICERT_ONE|RUNBOOK)_[A-Z0-9_]+)`", read(REFERENCE)))
    assert listed == named


def test_ten_questions_are_answered_two_clicks_from_the_readme():
    """From there to a page, and on it to a section."""
    asked = read(REFERENCE).partition("## Ten questions\n")[2].partition("\n## ")[0]
    answers = [row[1] for row in rows(asked)]
    assert len(answers) == 10
    for answer in answers:
        ((target),) = re.findall(r"\]\(([^)]+)\)$", answer)
        assert "#" in target
        assert leads_somewhere(REFERENCE, target), target
        page = (REFERENCE.parent / target.partition("#")[0]).resolve() if target[0] != "#" else REFERENCE
        assert page == README or f"]({page.relative_to(ROOT)})" in read(README), target


COMMAND = re.compile(r"(?:^|[`&] ?|-- )(?:\.venv/bin/|/opt/\S+/)?runbook ((?!COMMAND|NAME)[a-z][^`\n]*)", re.MULTILINE)


@pytest.mark.parametrize(
    "path", [path for path in DOCUMENTS if path.name != "CHANGELOG.md"], ids=lambda path: path.name
)
def test_every_runbook_command_that_a_document_shows_is_one_the_program_takes(path: Path):
    for line in COMMAND.findall(read(path).replace("\\\n", " ")):
        words = [word for word in shlex.split(line, comments=True) if word != "-v"]
        name = words[0] if isinstance(COMMANDS[words[0]], Command) else " ".join(words[:2])
        assert {word for word in words if re.match(r"--?[a-z]", word)} <= options(COMMANDS[name]), line


@each_document
def test_every_make_target_that_a_document_shows_exists(path: Path):
    targets = set(re.findall(r"^(\w+):", read(ROOT / "Makefile"), re.MULTILINE))
    shown = re.findall(r"(?:^|`)make (\w+)", read(path), re.MULTILINE)
    assert set(shown) <= targets


def test_the_picture_of_a_report_is_small_and_readable():
    file = ROOT / "docs" / "report.png"
    assert file.stat().st_size < 200_000
    with Image.open(file) as picture:
        assert picture.width >= 800


# --- figures ----------------------------------------------------------------------------------------------------------


def test_a_figure_is_a_row_of_short_cells_with_its_date_commit_and_command():
    figures = [row for row in rows(read(MEASURED)) if len(row) == 5]
    assert len(figures) > 40
    for row in figures:
        assert max(map(len, row)) <= 160, row
        assert re.fullmatch(r"2\d{3}-\d\d-\d\d", row[2]), row
        assert re.fullmatch(r"`(≤ )?[0-9a-f]{7}`|unknown", row[3]), row
        for name in re.findall(r"\btests/[\w/]+(?:\.py)?", row[4]):
            assert (ROOT / name).exists(), name


def test_every_record_of_the_benchmark_is_linked_or_belongs_to_one_that_is():
    linked = set(re.findall(r"\]\(bench/(\w+)\.json\)", read(MEASURED)))
    assert {path.stem for path in (ROOT / "docs" / "bench").iterdir()} - {"history"} == linked - {"history"}


def test_the_history_of_the_figures_can_be_read():
    kept = json.loads(read(ROOT / "docs" / "bench" / "history.json"))
    assert all(set(one) == {"claim", "figure", "command", "recorded", "commit"} for one in kept)


# --- the catalogue ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained_and_its_notebook_exists(reason: Reason):
    explanation = CATALOGUE[reason]
    assert explanation.title
    assert explanation.means
    assert explanation.remedy
    assert isinstance(explanation.exit, Exit)
    if explanation.notebook:
        assert (ROOT / "notebooks" / f"{explanation.notebook}.ipynb").is_file()


def test_every_exit_code_but_done_and_due_has_a_reason():
    asked_for = {Exit.DUE, Exit.NOTHING_DUE, Exit.PROGRESSED, Exit.WAITING}  # by an option of `runbook run`
    assert {one.exit for one in CATALOGUE.values()} == set(Exit) - asked_for - {Exit.DONE}

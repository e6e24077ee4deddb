"""The committed notebooks: without outputs, all of one shape, and consistent with their procedures."""

from __future__ import annotations

import ast
import importlib
import re
from enum import Enum
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from papermill.inspection import inspect_notebook

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.procedures.parameters import MODELS, intake
from runbook_lib.procedures.procedure import Procedure
from runbook_lib.reports.html import EXPLORE_TAG
from runbook_lib.result import Kind
from runbook_lib.widgets import panels
from tests.notebooks.conftest import NOTEBOOKS, ROOT

FILES = sorted(
    set((ROOT / "parameters").glob("*.yaml")) - {ROOT / "parameters" / name for name in ("fleet.yaml", "notices.yaml")}
)
"""Those that a notebook takes; a fleet file is for `runbook batch`."""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


IMPORT = "from runbook_lib.widgets import runbook\n\n"
"""So that a cell can say what is missing, where a kernel was restarted and only this cell is run again."""


EXPLORED = {"04_inventory": ("certificates", "inventory"), "06_archive": ("changes", "changes-made")}
"""The notebooks with a part to explore: its variable and its table."""


def read(path: Path) -> Any:
    notebook: Any = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    return notebook


def procedure_of(notebook: Any) -> type[Procedure[Any]]:
    setup = next(cell.source for cell in notebook.cells if cell.id == "setup")
    found = re.match(r"from (runbook_lib\.(?:procedures|audit)\.\w+) import (\w+)\n", setup)
    assert found
    procedure: type[Procedure[Any]] = getattr(importlib.import_module(found[1]), found[2])
    return procedure


def test_the_notebooks_are_those_that_sentences_may_link_to():
    assert tuple(path.stem for path in NOTEBOOKS) == panels.NOTEBOOKS


@each_notebook
def test_a_committed_notebook_holds_no_output_and_nothing_of_the_machine_it_was_made_on(path: Path):
    notebook = read(path)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.metadata.language_info == {"name": "python"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None


@each_notebook
def test_every_notebook_has_the_same_shape(path: Path):
    notebook = read(path)
    procedure = procedure_of(notebook)
    assert procedure.notebook == path.stem
    steps = [step.slug for step in procedure.steps()]
    expected = ["title", "parameters-text", "parameters", "setup"]
    for slug in steps:
        expected += [f"{slug}-text", slug]
    expected += ["finish-text", "finish"]
    if path.stem in EXPLORED:
        expected += ["explore-text", "explore", "examples-text", "examples"]
    assert [cell.id for cell in notebook.cells] == expected

    cells = {cell.id: cell for cell in notebook.cells}
    name = procedure.__name__
    assert cells["title"].source.startswith(f"# {path.stem[:2]} · ")
    for words in ("What it does", "What it needs", "How long", "What it changes"):
        assert f"**{words}**" in cells["title"].source
    assert cells["setup"].source == (
        f"from {procedure.__module__} import {name}\nfrom runbook_lib.widgets import Runbook\n\n"
        f"runbook = Runbook({name}, globals())"
    )
    for step in procedure.steps():
        assert cells[step.slug].source == f"{IMPORT}runbook.step({name}.{step.method.__name__})"
        text = cells[f"{step.slug}-text"].source
        assert text.startswith("## ")
        assert f"**{step.kind.value}**" in text
        other = Kind.CHANGE if step.kind is Kind.CHECK else Kind.CHECK
        assert f"**{other.value}**" not in text
        assert 1 <= len(re.findall(r"[.;?](?:\s|$)", text.split("\n\n", 2)[2])) <= 5
    assert cells["finish"].source == f"{IMPORT}runbook.finish()"


@pytest.mark.parametrize("name", EXPLORED)
def test_what_is_only_to_explore_is_tagged_and_does_nothing_without_a_person(name: str):
    notebook = read(ROOT / "notebooks" / f"{name}.ipynb")
    variable, table = EXPLORED[name]
    cells = {cell.id: cell for cell in notebook.cells}
    for cell in notebook.cells:
        assert (EXPLORE_TAG in cell.metadata.get("tags", [])) == cell.id.startswith(("explore", "examples"))
    assert cells["explore"].source == f'{IMPORT}{variable} = runbook.explore("{table}")'
    assert table in {schema.name for schema in procedure_of(notebook).tables}
    (guard,) = ast.parse(cells["examples"].source).body
    assert isinstance(guard, ast.If)
    assert ast.unparse(guard.test) == f"{variable} is not None"
    assert not guard.orelse
    assert len(re.findall(r"^    # \d\. ", cells["examples"].source, re.MULTILINE)) == 3
    assert ".plot." in cells["examples"].source


@each_notebook
def test_the_parameters_cell_has_exactly_the_fields_and_defaults_of_the_model(path: Path):
    notebook = read(path)
    cell = next(cell for cell in notebook.cells if cell.id == "parameters")
    assert cell.metadata.tags == ["parameters"]
    lines = cell.source.splitlines()
    given = {}
    for line in lines:
        statement = ast.parse(line).body[0]
        assert isinstance(statement, ast.AnnAssign)
        assert isinstance(statement.target, ast.Name)
        assert statement.value is not None
        assert re.search(r"  # \S.{5,}", line), f"no comment: {line}"
        value = ast.literal_eval(statement.value)
        assert ast.unparse(statement.annotation) == type(value).__name__
        given[statement.target.id] = value
    fields = procedure_of(notebook).model.model_fields
    defaults = {name: field.default for name, field in fields.items()}
    plain = {name: one.value if isinstance(one, Enum) else one for name, one in defaults.items()}
    assert given == plain
    assert list(given) == list(plain)


@each_notebook
def test_papermill_can_tell_every_parameter_with_its_type_and_help(path: Path):
    known = inspect_notebook(str(path))
    assert set(known) == set(procedure_of(read(path)).model.model_fields)
    for parameter in known.values():
        assert parameter["inferred_type_name"] in ("str", "int", "bool", "list")
        assert parameter["help"]


@each_notebook
def test_a_notebook_links_only_to_files_that_exist(path: Path):
    for cell in read(path).cells:
        for target in re.findall(r"\]\(([^)]*)\)", cell.source):
            assert (path.parent / target).is_file(), target


@each_file
def test_every_parameter_file_is_taken_by_every_notebook(path: Path):
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    for model in MODELS:
        parameters, rows = intake(model, given)
        assert parameters.mode == "headless"
        assert {row.name for row in rows} == set(model.model_fields) | set(given)


@each_file
def test_a_parameter_file_explains_itself_and_names_secrets_only_by_reference(path: Path):
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "papermill notebooks/" in text
    given = yaml.safe_load(text)
    assert given["api_key"].partition(":")[0] in ("env", "file", "keyring")


def test_a_parameter_file_with_a_misspelt_name_or_a_bare_secret_is_refused():
    given = yaml.safe_load((ROOT / "parameters" / "sandbox.yaml").read_text(encoding="utf-8"))
    with pytest.raises(RunbookError) as misspelt:
        intake(MODELS[1], given | {"organisation": "Your Organization"})
    assert misspelt.value.reason is Reason.UNKNOWN_PARAMETER
    with pytest.raises(RunbookError) as bare:
        intake(MODELS[1], given | {"api_key": "0123456789abcdef"})
    assert bare.value.reason is Reason.SECRET_AS_VALUE

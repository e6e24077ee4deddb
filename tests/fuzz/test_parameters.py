"""Parameters: files of YAML, pairs of words, and what each notebook's model takes."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from runbook_lib import yaml_as_written
from runbook_lib.cli.parameters import read_parameters
from runbook_lib.procedures.parameters import MODELS, Parameters, intake
from runbook_lib.secrets import resolve
from runbook_lib.widgets.form import check_parameters
from tests.fuzz.doors import door, fuzz, mutated, nasty, text, values

NAMES = sorted({name for model in MODELS for name in model.model_fields})
HERE = Path("given.yaml")
SAMPLE = (Path(__file__).parents[2] / "parameters" / "fleet.yaml").read_bytes()

lines = st.builds(
    "{}{}: {}".format, st.sampled_from(["", "  ", "- ", "? ", "    - "]), st.sampled_from(NAMES) | text, text
)
documents = st.lists(lines | text, max_size=6).map("\n".join)


def readable(given: dict[str, Any]) -> None:
    for model in MODELS:
        door(partial(intake, model, given))


@fuzz(documents, examples=300)
def test_a_file_is_read_or_refused_in_words(content: str) -> None:
    read = door(lambda: yaml_as_written.read_yaml(HERE, content))
    if read is not None and isinstance(read[0], dict):
        assert all(isinstance(name, str) for name in read[0])
        readable(read[0])


@fuzz(mutated(SAMPLE))
def test_so_is_one_whose_bytes_are_damaged(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "given.yaml"
        file.write_bytes(content)
        found = door(lambda: read_parameters([file], []))
    if found is not None:
        assert all(name.isidentifier() for name in found)


@fuzz(st.lists(st.tuples(st.sampled_from(NAMES) | text, text), max_size=3), examples=200)
def test_pairs_become_lines_of_a_notebook_or_are_refused(pairs: list[tuple[str, str]]) -> None:
    found = door(lambda: read_parameters([], pairs))
    if found is not None:
        compile("\n".join(f"{name} = {value!r}" for name, value in found.items()), "cell", "exec")
        repr(found).encode()
        readable(found)


@fuzz(st.sampled_from(MODELS), st.dictionaries(st.sampled_from(NAMES), values, max_size=4), examples=300)
def test_a_model_takes_or_refuses_and_the_form_says_the_same(model: type[Parameters], given: dict[str, Any]) -> None:
    own = {name: value for name, value in given.items() if name in model.model_fields}
    taken = door(lambda: intake(model, own))
    assert (taken is None) == bool(check_parameters(model, own))
    if taken is not None:
        parameters, _ = taken
        door(parameters.make_clock)
        door(lambda: parameters.make_environment({}))


@fuzz(st.builds("{}:{}".format, st.sampled_from(["env", "file", "x"]), text) | text, st.dictionaries(nasty, text))
def test_a_reference_leads_to_a_secret_or_to_words(reference: str, environ: dict[str, str]) -> None:
    if not reference.strip().startswith("keyring"):  # which would ask the machine's own
        door(lambda: resolve(reference, environ=environ))

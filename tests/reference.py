"""`python -m tests.reference`: writes the parts of docs/reference.md that the program itself knows.

They are made from the models of the parameters, of the fleet file and of the notices file, the hosts, the commands, the
exit codes and the catalogue. `tests/test_documents.py` fails where the page says something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel

from runbook_lib.audit.procedure import Audit
from runbook_lib.catalogue import CATALOGUE, Exit
from runbook_lib.digicert.environments import HOSTS
from runbook_lib.fleet.file import Fleet, HostBudget
from runbook_lib.inventories.schemas import INVENTORY
from runbook_lib.notebooks import NOTEBOOKS
from runbook_lib.notices.notices_file import Notices, SendRule
from runbook_lib.procedures.access import Access
from runbook_lib.procedures.inventory import Inventory
from runbook_lib.procedures.issue import Issue
from runbook_lib.procedures.parameters import MODELS, ChangeParameters, CredentialParameters, Parameters
from runbook_lib.procedures.procedure import Procedure
from runbook_lib.procedures.rotate import Rotate
from runbook_lib.procedures.troubleshoot import Troubleshoot
from runbook_lib.procedures.verify import Verify
from runbook_lib.schema import FLAG, MOMENT, ColumnKind
from tests.cli.commands import commands

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"

EXIT_CODES = {
    Exit.DONE: ("Done.", "Nothing."),
    Exit.UNEXPECTED: (
        "Unexpected error; or the run was killed, timed out, was interrupted, or its report would have held a secret.",
        "Read the error. Run the same command again.",
    ),
    Exit.USAGE: (
        "Wrong usage or parameters. Nothing was changed.",
        "Give, correct or allow what the error names, then run again.",
    ),
    Exit.NOTHING_DUE: ("Rotation: nothing was due. Only with `--exit-detail`, else 0.", "Nothing."),
    Exit.PROGRESSED: (
        "Rotation: a step was taken, and more will follow. Only with `--exit-detail`, else 0.",
        "Nothing.",
    ),
    Exit.WAITING: ("Rotation: it waits for a later day. Only with `--exit-detail`, else 0.", "Nothing."),
    Exit.DUE: (
        "Done, and certificates need action. Only with `--fail-on due`, else 0.",
        "Open the report and renew what it lists.",
    ),
    Exit.CHECK_FAILED: (
        "A check failed, or access is not what it should be.",
        "Open the report. Running again does not help before the cause is removed.",
    ),
    Exit.OUTCOME_UNKNOWN: (
        "The response to a request was lost, so its outcome is unknown.",
        "Run the same command again: it finds out first, and never requests a certificate twice.",
    ),
    Exit.BUSY: (
        "Another run holds this credential or archive. Nothing was done.",
        "Run again when the other run has ended.",
    ),
}
"""What each code means, and what to do about it."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    cells = [[" ".join(cell.split()).replace("|", r"\|") for cell in row] for row in (head, *rows)]
    first, *others = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([first, "|" + "---|" * len(head), *others])


def _values(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What a parameter may be, of its JSON schema."""
    field = definitions.get(field.get("$ref", "").rpartition("/")[2], {}) | field
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    match field.get("type"):
        case "boolean":
            return "`true`, `false`"
        case "integer" | "number":
            least, most = field.get("minimum", field.get("exclusiveMinimum")), field.get("maximum")
            return f"{least:,} to {most:,}" if most is not None else f"{least:,} or more"
        case "array":
            return "list"
        case "object":
            return "names and values"
    return "text"


def _default(value: Any) -> str:
    return "" if value in ("", [], {}, None) else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _rows(model: type[BaseModel], names: Iterable[str] | None = None) -> Iterator[tuple[str, ...]]:
    schema = model.model_json_schema()
    for name, field in schema["properties"].items():
        if (names is None or name in names) and "description" in field:
            values = _values(field, schema.get("$defs", {}))
            yield f"`{name}`", field.get("title", ""), values, _default(field.get("default")), field["description"]


def _users(model: type[Parameters]) -> str:
    """The notebooks whose parameters those of a model are among, by their short names."""
    return ", ".join(f"`{name}`" for name, own in zip(NOTEBOOKS, MODELS, strict=True) if issubclass(own, model))


def parameters() -> str:
    """A table for each model, with what it adds to the one before."""
    head = ("Parameter", "In the form", "Values", "Default", "Meaning")
    parts = []
    models: tuple[type[Parameters], ...] = (Parameters, CredentialParameters, ChangeParameters, *MODELS)
    for model in models:
        rows = list(_rows(model, model.__annotations__))
        if rows:
            users = "Every notebook" if model is Parameters else _users(model)
            parts.append(f"### {users}\n\n{table(head, rows)}")
    return "\n\n".join(parts)


def fleet() -> str:
    budget = [(f"`budget: {row[0].strip('`')}`", *row[2:]) for row in _rows(HostBudget)]
    rows = [(row[0], *row[2:]) for row in _rows(Fleet)]
    return table(("Setting", "Values", "Default", "Meaning"), [*rows, *budget])


def notices() -> str:
    rule = [(f"`send: {row[0].strip('`')}`", *row[2:]) for row in _rows(SendRule)]
    rows = [(row[0], *row[2:]) for row in _rows(Notices)]
    return table(("Setting", "Values", "Default", "Meaning"), [*rows, *rule])


def environments() -> str:
    return table(("`environment`", "Host"), [(f"`{name}`", f"`{host}`") for name, host in HOSTS.items()])


def exit_codes() -> str:
    return table(("Code", "Means", "Do"), [(str(int(code)), *EXIT_CODES[code]) for code in Exit])


def reasons() -> str:
    rows = [
        (f"`{reason}`", f"**{one.title}.** {one.means}", one.remedy, str(int(one.exit)), one.notebook[:2])
        for reason, one in CATALOGUE.items()
    ]
    return table(("Code", "Means", "Do", "Exit", "Notebook"), rows)


WITH_TABLES: tuple[type[Procedure[Any]], ...] = (Issue, Verify, Access, Inventory, Rotate, Audit, Troubleshoot)


def tables() -> str:
    """A row for each type of each table of each notebook. Tables of the same columns share their rows."""
    rows, known = [], dict[tuple[str, ...], str]()
    for procedure in WITH_TABLES:
        for _, alike in groupby(procedure.tables, key=lambda schema: schema.types):
            schema, *others = alike
            cells = [", ".join(f"`{each.name}`" for each in (schema, *others)), procedure.notebook[:2]]
            for kind in ColumnKind:
                if names := schema.of_type(kind):
                    rows.append((*cells, f"`{kind}`", ", ".join(f"`{name}`" for name in names)))
            for name, words in schema.types.items():
                if isinstance(words, tuple):
                    shown = f"as in `{known[words]}`" if words in known else " < ".join(words)
                    rows.append((*cells, "category", f"`{name}`: {shown}"))
                    known.setdefault(words, schema.name)
    return table(("Table", "Notebook", "dtype", "Columns"), rows)


def reading() -> str:
    """The code that reads an inventory's CSV."""
    dtypes = [
        f'    "{name}": pd.CategoricalDtype({list(kind)}, ordered=True),'.replace("'", '"')
        if isinstance(kind, tuple)
        else f'    "{name}": "string",  # a moment, see below'
        if kind is MOMENT
        else f'    "{name}": "{kind}",'
        for name, kind in INVENTORY.types.items()
    ]
    moments = ", ".join(f'"{name}": "{MOMENT}"' for name in INVENTORY.of_type(MOMENT))
    flags = ", ".join(f'"{name}": ["", "unknown"]' for name in INVENTORY.of_type(FLAG))
    lines = (
        *("import pandas as pd", "", "dtype = {", *dtypes, "}", "frame = pd.read_csv("),
        *('    "inventory.csv",', "    dtype=dtype,", "    keep_default_na=False,"),
        f'    na_values=dict.fromkeys(dtype, [""]) | {{{flags}}},',
        *('    true_values=["yes"],', '    false_values=["no"],', f").astype({{{moments}}})"),
    )
    return "\n".join(("```python", *lines, "```"))


def command_list() -> str:
    found = {words: one for words, one in commands().items() if not isinstance(one, click.Group)}
    rows = [(f"`runbook {words}`", one.get_short_help_str(200)) for words, one in found.items()]
    return table(("Command", "Does"), rows)


PARTS = {
    "environments": environments,
    "parameters": parameters,
    "fleet": fleet,
    "notices": notices,
    "tables": tables,
    "reading": reading,
    "commands": command_list,
    "exit codes": exit_codes,
    "reasons": reasons,
}


def made(page: str) -> str:
    """The page with its parts as they are made now. Raises KeyError for a part that nobody makes."""

    def part(found: re.Match[str]) -> str:
        return f"{found[1]}\n\n{PARTS[found[2]]()}\n\n<!-- end -->"

    return re.sub(r"(<!-- made by tests/reference\.py: (.*?) -->)[\s\S]*?<!-- end -->", part, page)


if __name__ == "__main__":
    PAGE.write_text(made(PAGE.read_text(encoding="utf-8")), encoding="utf-8")

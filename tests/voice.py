"""`python -m tests.voice`: reports the words that CONTRIBUTING.md (“Voice”) avoids, wherever a person reads them.

It reads the documents, the notebooks' Markdown, the catalogue, the parameters and the pages of help. Blocks of code and
`code` are left out. proselint's own checks of style and spelling run too.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click
import nbformat
from proselint.checks import __register__ as BUILT_IN
from proselint.registry.checks import Check, types

from runbook_lib.catalogue import CATALOGUE
from runbook_lib.procedures.parameters import MODELS
from tests.cli.commands import commands

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("*.md", "docs/*.md", "deploy/*.md", "runbook_lib/archive/templates/*.md")

PREFERRED = {
    "let in": "accepted",
    "(?:go|goes|gone|going) on with": "resume",
    "(?:is|are) due here": "must be",
    "and this is none": "must be",
    "none of an?": "not a",
    "no number from": "must be a number from",
    "of the form that": "must be",
    "needs? (?:nobody|anybody|somebody)": "needs (no) action",
    "named none": "unknown (no response)",
    "(?:give|gives|gave|given) its word": "finished",
    "signed by nobody": "not signed",
    "nothing (?:was|is) (?:ever )?declared": "no expectations declared",
    "nothing can be called": "cannot be detected",
    "of which it is not known": "unknown",
    "cut short": "interrupted",
    "told": "reported",
    "mend(?:s|ed|ing)?": "repaired",
    "anew": "again",
    "holds good": "is valid",
    "beside": "next to",
    "for want of": "without",
}
"""What we do not write, as a regular expression, and what we write instead."""

PLURAL = r"1 (?:accounts|bags|bytes|cells|certificates|days|files|findings|hours|rows|runs|seconds|steps|tables)"

OURS = (
    Check(
        types.PreferredForms({words.replace(" ", r"\s+"): better for words, better in PREFERRED.items()}),
        path="voice.words",
        message="“{1}”: write “{0}”, or say it another way",
    ),
    Check(types.Existence((PLURAL,)), path="voice.plural", message="“{}”: the noun is singular after 1"),
)

STYLE = (
    *("archaism", "cliches", "dates_times", "hedging", "industrial_language", "lexical_illusions", "malapropisms"),
    *("misc", "mixed_metaphors", "mondegreens", "needless_variants", "nonwords", "oxymorons", "redundancy"),
    *("skunked_terms", "social_awareness", "spelling", "uncomparables"),
)
"""proselint's checks that suit manuals: not its lists of easy words, and not its typography."""

CHECKS = (*OURS, *(check for check in BUILT_IN if check.path.split(".")[0] in STYLE))


class Text(NamedTuple):
    """Something that a person reads, and where it is."""

    place: str
    content: str


class Finding(NamedTuple):
    """Words to change."""

    place: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.place}:{self.line}: {self.message}"


NOT_PROSE = (
    r"^ *```[\s\S]*?^ *```",
    r"(?<=\n\n)(?:    .*\n)+",
    r"<!-- made by [\s\S]*?<!-- end -->",  # it is checked where it is made from
    r"\]\([^)]*\)",
    r"(?<=\| Not \| But \|\n)(?:\|.*\n)*",
)
"""Blocks of code, generated parts, addresses, and the examples of what not to write."""


def prose(markdown: str) -> str:
    """The text with spaces in place of what is no prose, and x in place of `code`; as long as before."""
    for pattern in NOT_PROSE:
        markdown = re.sub(pattern, lambda found: re.sub(r"[^\n]", " ", found[0]), markdown, flags=re.MULTILINE)
    return re.sub(r"`[^`\n]*`", lambda found: "x" * len(found[0]), markdown)


def check(text: Text) -> list[Finding]:
    """The findings in one text, in the order of its lines."""
    lines = prose(text.content)
    joined = re.sub(r"\n(?=\n)", "¶", f"\n{lines}\n").replace(
        "\n", " "
    )  # a phrase may wrap, and ends with its paragraph
    found = (
        Finding(text.place, lines.count("\n", 0, max(0, result.span[0] - 1)) + 1, " ".join(result.message.split()))
        for one in CHECKS
        for result in one.check_with_flags(joined)
    )
    return sorted(set(found), key=lambda finding: finding.line)


def texts() -> Iterator[Text]:
    """All that is checked."""
    for path in sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern)):
        yield Text(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "markdown":
                yield Text(f"notebooks/{path.name}, cell {cell.id}", cell.source)
    for reason, explanation in CATALOGUE.items():
        yield Text(f"catalogue, {reason}", "\n\n".join((explanation.title, explanation.means, explanation.remedy)))
    for model in MODELS:
        for name, field in model.model_fields.items():
            yield Text(f"{model.__name__}.{name}", f"{field.title}\n\n{field.description}")
    for words, command in commands().items():
        options = [one.help or "" for one in command.params if isinstance(one, click.Option)]
        yield Text(f"runbook {words} --help", "\n\n".join([inspect.cleandoc(command.help or ""), *options]))


def main() -> None:
    findings = [finding for text in texts() for finding in check(text)]
    for finding in findings:
        print(finding)
    sys.exit(f"{len(findings)} to change: CONTRIBUTING.md, “Voice”." if findings else 0)


if __name__ == "__main__":
    main()

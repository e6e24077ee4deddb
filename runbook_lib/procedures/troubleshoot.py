"""Explains every known error: its meaning, its remedy, and the notebook that helps."""

from __future__ import annotations

import math
import re
from collections import Counter

from runbook_lib.catalogue import CATALOGUE, Reason
from runbook_lib.procedures.parameters import TroubleshootParameters
from runbook_lib.procedures.procedure import Procedure, check
from runbook_lib.result import Result, Verdict
from runbook_lib.schema import INTEGER, TEXT, Schema

ERRORS = Schema(
    "errors",
    {"error": TEXT, "reason": TEXT, "what it means": TEXT, "what to do": TEXT, "notebook": TEXT, "exit code": INTEGER},
)

SHOWN = 5
"""The most errors that a search shows."""


class Troubleshoot(Procedure[TroubleshootParameters]):
    """Notebook 07. It needs no environment and calls no server."""

    slug = "troubleshoot"
    notebook = "07_troubleshoot"
    model = TroubleshootParameters
    tables = (ERRORS,)

    @check("Look it up", tutorial="Common errors and solutions")
    def explain(self) -> Result:
        symptom = self.parameters.symptom
        found = ranked(symptom) if symptom.strip() else list(CATALOGUE)
        shown = found[:SHOWN] if symptom.strip() else found
        if not found:
            return Result(
                verdict=Verdict.ATTENTION,
                headline="No known error contains these words. Try a shorter one, such as 403 or duplicate.",
            )
        rows = [
            (known.title, reason.value, known.means, known.remedy, known.notebook, str(int(known.exit)))
            for reason in shown
            for known in (CATALOGUE[reason],)
        ]
        headline = f"{len(found)} of {len(CATALOGUE)} known errors."
        if len(shown) < len(found):
            headline = f"The {len(shown)} best matches, of {len(found)} errors that contain one of these words."
        return Result(verdict=Verdict.OK, headline=headline, tables=(ERRORS.table("Known errors", rows),))


def ranked(symptom: str) -> list[Reason]:
    """The errors that contain a word of a symptom, the best match first.

    A rare word counts more than a common one (inverse document frequency), and a word of the code or the title twice as
    much. A word also matches the beginning of a longer one.
    """
    texts = {
        reason: (
            _words(f"{reason.value} {reason.value.replace('_', ' ')} {known.title}"),
            _words(f"{known.means} {known.remedy}"),
        )
        for reason, known in CATALOGUE.items()
    }
    scores: Counter[Reason] = Counter()
    for word in _words(symptom):
        times = {reason: 2 * _begins(head, word) + _begins(body, word) for reason, (head, body) in texts.items()}
        found = sum(map(bool, times.values()))
        for reason, count in times.items():
            if count:
                scores[reason] += count * math.ceil(100 * math.log(1 + len(texts) / found))
    return sorted(scores, key=lambda reason: (-scores[reason], list(CATALOGUE).index(reason)))


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def _begins(words: set[str], word: str) -> bool:
    return any(each.startswith(word) for each in words)

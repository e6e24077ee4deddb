"""Explains every known error: its meaning, its remedy, and the notebook that helps."""

from __future__ import annotations

from runbook_lib.catalogue import CATALOGUE, Explanation, Reason
from runbook_lib.procedures.parameters import TroubleshootParameters
from runbook_lib.procedures.procedure import Procedure, check
from runbook_lib.result import Result, Table, Verdict


class Troubleshoot(Procedure[TroubleshootParameters]):
    """Notebook 07. It needs no environment and calls no server."""

    slug = "troubleshoot"
    notebook = "07_troubleshoot"
    model = TroubleshootParameters

    @check("Look it up", tutorial="Common errors and solutions")
    def explain(self) -> Result:
        words = self.parameters.symptom.lower().split()
        texts = {reason: _text(reason, explanation) for reason, explanation in CATALOGUE.items()}
        found = [reason for reason, text in texts.items() if all(word in text for word in words)]
        if not found:
            # no error contains all the words: show those that contain any
            found = [reason for reason, text in texts.items() if any(word in text for word in words)]
        return Result(
            verdict=Verdict.OK if found else Verdict.ATTENTION,
            headline=f"{len(found)} of {len(CATALOGUE)} known errors."
            if found
            else "No known error contains these words. Try a shorter one, such as 403 or duplicate.",
            tables=(
                Table(
                    name="errors",
                    title="Known errors",
                    columns=("error", "reason", "what it means", "what to do", "notebook", "exit code"),
                    rows=tuple(
                        (known.title, reason.value, known.means, known.remedy, known.notebook, str(int(known.exit)))
                        for reason in found
                        for known in (CATALOGUE[reason],)
                    ),
                ),
            )
            if found
            else (),
        )


def _text(reason: Reason, explanation: Explanation) -> str:
    return f"{reason.value} {explanation.title} {explanation.means} {explanation.remedy}".lower()

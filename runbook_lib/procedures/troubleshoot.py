"""Every known error, explained: what it means here, what to do, and the notebook that fixes it."""

from __future__ import annotations

from runbook_lib.catalogue import CATALOGUE, Explanation, Reason
from runbook_lib.procedures.parameters import TroubleshootParameters
from runbook_lib.procedures.procedure import Procedure, check
from runbook_lib.result import Result, Table, Verdict


class Troubleshoot(Procedure[TroubleshootParameters]):
    """Notebook 07. It needs no environment and asks nobody."""

    slug = "troubleshoot"
    notebook = "07_troubleshoot"
    model = TroubleshootParameters

    @check("Look it up", tutorial="Common errors and solutions")
    def explain(self) -> Result:
        words = self.parameters.symptom.lower().split()
        texts = {reason: _text(reason, explanation) for reason, explanation in CATALOGUE.items()}
        found = [reason for reason, text in texts.items() if all(word in text for word in words)]
        if not found:
            # no reason has all the words: show those that have any, rather than nothing
            found = [reason for reason, text in texts.items() if any(word in text for word in words)]
        return Result(
            verdict=Verdict.OK if found else Verdict.ATTENTION,
            headline=f"{len(found)} of {len(CATALOGUE)} known errors."
            if found
            else "None of the known errors has these words. Try a shorter one, such as 403 or duplicate.",
            tables=(
                Table(
                    name="errors",
                    title="Known errors",
                    columns=("error", "reason", "what it means", "what to do", "notebook", "exit code"),
                    rows=tuple(
                        (why.title, reason.value, why.means, why.remedy, why.notebook, str(int(why.exit)))
                        for reason in found
                        for why in (CATALOGUE[reason],)
                    ),
                ),
            )
            if found
            else (),
        )


def _text(reason: Reason, explanation: Explanation) -> str:
    return f"{reason.value} {explanation.title} {explanation.means} {explanation.remedy}".lower()

"""`tests/voice.py` refuses the sentences that the voice was written against, and passes the better ones."""

from __future__ import annotations

import pytest

from tests import voice

PAIRS = (
    ("Nothing needs anybody.", "No action needed."),
    ("5 need somebody.", "5 certificates need action."),
    ("Whole, and signed by nobody.", "Complete and unchanged, but not signed."),
    (
        "Nothing was declared, so nothing can be called missing; days without any run are told.",
        "No expectations declared, so gaps cannot be detected. Days without runs are listed.",
    ),
    ("not of the form that is due here: two letters", "Enter a two-letter code, for example DE."),
    (
        "A reference to a secret is due here, and this is none.",
        "Don't paste the secret here. Say where it is: env:NAME, file:PATH, …",
    ),
    ("What `current` holds, opened anew, is let in.", "The certificate now in use is accepted."),
    (
        "6 changes, 0 of them failed; and 1 run of which it is not known what they changed.",
        "6 changes, none failed. 1 run was cut off; its changes are unknown.",
    ),
    ("DigiCert ONE named none", "Service user: unknown (no response)"),
    ("The last cell never gave its word.", "The notebook did not finish."),
    ("a line that is none of a manifest", "malformed manifest line"),
    ("'x' is no number from 1", "must be a whole number, 1 or more"),
    ("cut short too long ago to be gone on with", "interrupted too long ago to resume"),
)


def findings(content: str) -> list[str]:
    return [str(found) for found in voice.check(voice.Text("here", content))]


@pytest.mark.parametrize(("now", "better"), PAIRS)
def test_a_sentence_that_reads_as_translated_is_reported_and_the_better_one_passes(now: str, better: str):
    assert findings(now)
    assert findings(better) == []


def test_a_phrase_is_found_across_the_end_of_a_line_and_its_line_is_named():
    (found,) = findings("A line.\n\n* The new certificate is let\n  in.\n")
    assert found == "here:3: “let in”: write “accepted”, or say it another way"


def test_a_plural_after_one_is_reported():
    assert findings("It has 1 rows.")
    assert findings("It has 1 row, and the other 11 rows.") == []


def test_code_and_the_examples_of_the_voice_are_no_prose():
    assert findings("The field `mended`.\n\n```sh\necho anew\n```\n") == []
    assert findings("| Not | But |\n|---|---|\n| told | reported |\n\n") == []


def test_proselint_s_own_checks_run():
    assert findings("The the archive.")
    assert findings("A very unique archive.")


def test_every_place_where_a_person_reads_is_checked():
    places = [text.place for text in voice.texts()]
    for place in (
        "README.md",
        "docs/glossary.md",
        "deploy/README.md",
        "catalogue, bad_parameter",
        "runbook run --help",
    ):
        assert place in places
    assert any(place.startswith("notebooks/05_rotate.ipynb") for place in places)
    assert "IssueParameters.country" in places

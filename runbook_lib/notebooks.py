"""Our own notebooks, and their names on the command line and in fleet files."""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from runbook_lib.catalogue import Reason
from runbook_lib.errors import RunbookError
from runbook_lib.given import did_you_mean

_LONGEST = 63
"""Maximum characters of a job's name, which becomes part of a folder's name."""

_INSTALLED = Path(__file__).with_name("files")
"""Where a wheel keeps the top-level folders of a checkout."""

_TOP = _INSTALLED if _INSTALLED.is_dir() else Path(__file__).parents[1]

NOTEBOOK_FOLDER = _TOP / "notebooks"
PARAMETER_FOLDER = _TOP / "parameters"

NOTEBOOKS = {
    "doctor": "00_start_here",
    "issue": "01_issue",
    "verify": "02_verify",
    "access": "03_access",
    "inventory": "04_inventory",
    "rotate": "05_rotate",
    "archive": "06_archive",
    "troubleshoot": "07_troubleshoot",
}
"""Short names of our own notebooks."""


def find_notebook(text: str) -> tuple[Path, str]:
    """The notebook for a short name or a path, and its job's name. Raises RunbookError (UNKNOWN_NOTEBOOK)."""
    if text in NOTEBOOKS:
        return NOTEBOOK_FOLDER / f"{NOTEBOOKS[text]}.ipynb", text
    path = Path(text)
    if path.suffix != ".ipynb" or not path.is_file():
        meant = did_you_mean(text, NOTEBOOKS)
        raise RunbookError(Reason.UNKNOWN_NOTEBOOK, f"{text!r} is neither a short name nor an .ipynb file.{meant}")
    known = {stem: short for short, stem in NOTEBOOKS.items()}
    job = "".join(char if char.isascii() and char.isalnum() else "-" for char in path.stem.lower()).strip("-")
    if len(job) > _LONGEST:  # two names with the same beginning stay two jobs
        job = f"{job[: _LONGEST - 9].strip('-')}-{sha256(path.stem.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return path, known.get(path.stem, job or "notebook")


def imported_by(notebook: Path) -> list[str]:
    """Our modules that a notebook's text imports."""
    return re.findall(r"\bfrom (runbook_lib[.\w]*) import\b", notebook.read_text(encoding="utf-8", errors="replace"))

"""One run of a notebook: execute it, judge it, search it for secrets, render and record it."""

import sys
from pathlib import Path

TEMPLATES = Path(__file__).with_name("templates")
"""The report's templates. The archive's pages use their style."""

# If rfc3987_syntax is installed, jsonschema imports it for a format that no schema here names, and its grammar takes as
# long to compile as a run. None makes the import fail, so jsonschema treats it as not installed.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

"""One run of a notebook and what it leaves: executed, judged, searched for secrets, rendered, recorded."""

import sys
from pathlib import Path

TEMPLATES = Path(__file__).with_name("templates")
"""Of reports; the pages of the archive take their style from them."""

# jsonschema imports it wherever it is installed, to check a format that no schema here names, and compiling its grammar
# takes as long as a run. None makes that import fail, which jsonschema takes for "not installed".
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

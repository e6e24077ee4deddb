"""Imports and compiles once what every notebook needs, in a process that is then forked. Starts no thread."""

from __future__ import annotations

import matplotlib.backends.backend_svg  # noqa: F401

import runbook_lib.procedures.access
import runbook_lib.procedures.doctor
import runbook_lib.procedures.inventory
import runbook_lib.procedures.issue
import runbook_lib.procedures.rotate
import runbook_lib.procedures.troubleshoot
import runbook_lib.procedures.verify  # noqa: F401
from runbook_lib.widgets import panels

panels.compile_templates()

"""What the proofs share that nothing is lost. `make test` runs them bounded, `make soak` (RUNBOOK_SOAK=1) in full."""

from __future__ import annotations

import os

SOAK = os.environ.get("RUNBOOK_SOAK") == "1"

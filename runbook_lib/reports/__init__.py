"""Runs a notebook headlessly and turns it into an archived, truthful bag. Knows notebooks, not DigiCert."""

from runbook_lib.reports.quick import defer_grammar

defer_grammar()

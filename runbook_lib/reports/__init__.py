"""Runs a notebook headlessly and turns it into an archived, truthful bag. Knows notebooks, not DigiCert."""

from pathlib import Path

TEMPLATES = Path(__file__).with_name("templates")
"""Of reports; the pages of the archive take their style from them."""

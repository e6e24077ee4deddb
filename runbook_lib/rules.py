"""DigiCert ONE's rules for a certificate's name and lifetime."""

from __future__ import annotations

import re
from datetime import timedelta

MAX_LIFETIME = timedelta(days=397)
"""The longest time from a certificate's creation to its end (tutorial, "Client certificate expiration")."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 _-]*$"
"""Letters, digits, spaces, dashes and underscores (DigiCert's service-user documentation)."""

NAME_MAX_LENGTH = 128


def is_certificate_name(text: str) -> bool:
    """Whether DigiCert ONE accepts a text as a certificate's name. A space at its end is refused too."""
    return len(text) <= NAME_MAX_LENGTH and re.fullmatch(NAME_PATTERN, text) is not None and not text.endswith(" ")

"""What DigiCert ONE allows of a certificate: how it may be named, and how long it may last."""

from __future__ import annotations

import re
from datetime import timedelta

MAX_LIFETIME = timedelta(days=397)
"""A certificate ends at most so long after its creation (tutorial, "Client certificate expiration")."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9 _-]*$"
"""Letters, digits, spaces, dashes and underscores (DigiCert's service-user documentation)."""

NAME_MAX_LENGTH = 128


def is_certificate_name(text: str) -> bool:
    """Whether DigiCert ONE takes a text as a certificate's name, with no space at its end."""
    return len(text) <= NAME_MAX_LENGTH and re.fullmatch(NAME_PATTERN, text) is not None and not text.endswith(" ")

"""The archive's own entries, by the name of their bags: what the verifiers need to know of them."""

from __future__ import annotations

import re

SIGNER, AUTHORITY, HOLD, RELEASE, PURGE, EXPORT = "signer", "authority", "hold", "release", "purge", "export"
EXPECTATION = "expectation"
OWN = (SIGNER, AUTHORITY, HOLD, RELEASE, PURGE, EXPORT, EXPECTATION)
"""`data/<job>.json` of a bag tells of one of these. Where the archive has a signer, the verifiers want it signed."""

_KEPT = re.compile(rf".*Z-(?:{SIGNER}|{AUTHORITY}|{HOLD}|{RELEASE}|{PURGE}|{EXPECTATION})(?:-[0-9]+)?")


def is_kept(place: str) -> bool:
    """Whether a bag is an entry of the archive's own that stays whatever its age. A run of that name stays too."""
    return _KEPT.fullmatch(place) is not None


def is_expectation(place: str) -> bool:
    """Whether a bag declares what the archive should hold, going by its name."""
    return re.fullmatch(rf".*Z-{EXPECTATION}(?:-[0-9]+)?", place) is not None

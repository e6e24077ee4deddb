"""The tables of an inventory, with the types of their columns."""

from __future__ import annotations

from runbook_lib.inventories.health import Health
from runbook_lib.schema import FLAG, INTEGER, MOMENT, TEXT, Schema, ordered

ANSWERED = "answered"

_STATE = ordered(Health)
_AT_EASE = (Health.HEALTHY, Health.NO_CERTIFICATE, Health.LINKED, Health.NOT_YET_VALID)

SOURCES = Schema("sources", {"source": TEXT, "where": TEXT, "what it gave": TEXT})

SERVICE_USERS = Schema(
    "service-users",
    {
        "name": TEXT,
        "state": ordered((ANSWERED, Health.UNCHECKED)),
        "why": TEXT,
        "certificates": INTEGER,
        "end": MOMENT,
        "id": TEXT,
        "api key": TEXT,
        "reason": TEXT,
    },
)

INVENTORY = Schema(
    "inventory",
    {
        "name": TEXT,
        "state": _STATE,
        "why": TEXT,
        "days left": INTEGER,
        "ends": MOMENT,
        "effective end": MOMENT,
        "enabled": FLAG,
        "in the store": TEXT,
        "rotation": TEXT,
        "owner": TEXT,
        "serial": TEXT,
        "id": TEXT,
        "starts": MOMENT,
    },
)

ACTIONS = Schema(
    "actions",
    {
        "name": TEXT,
        "state": ordered(("unfinished", "attention", *(health for health in Health if health not in _AT_EASE))),
        "why": TEXT,
        "next": TEXT,
    },
)

FILES = Schema(
    "files",
    {
        "file": TEXT,
        "number": INTEGER,
        "state": _STATE,
        "why": TEXT,
        "days left": INTEGER,
        "starts": MOMENT,
        "ends": MOMENT,
        "subject": TEXT,
        "issuer": TEXT,
        "serial": TEXT,
        "key": TEXT,
        "sha256": TEXT,
        "form": TEXT,
        "reason": TEXT,
    },
)

_BRIEF = {name: FILES.types[name] for name in ("file", "state", "days left", "ends", "subject", "why")}

SOONEST, FLAWED, UNCHECKED = (Schema(name, _BRIEF) for name in ("soonest", "flawed", "unchecked"))

BARE = Schema("bare", {"folder": TEXT, "files": INTEGER})

REASONS = Schema("reasons", {"reason": TEXT, "rows": INTEGER, "what it means": TEXT, "what to do": TEXT})

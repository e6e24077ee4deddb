"""The response of GET /account/api/v1/user/me, after the tutorial's sample."""

from __future__ import annotations

import uuid
from typing import Any

from runbook_lib.sandbox.state import SeededUser

_CREATOR = "8f7f8b1f-63c1-4580-af7d-ea4cd890e8f7"
_SERVICE_PERIOD = {"from": "2021-05-06", "to": "2040-05-06"}

# id, name and permissions of each application in the tutorial's sample
_APPLICATIONS = (
    (
        "2d3a72fd-ad44-4a9b-952a-2bcadb14a741",
        "Trust Lifecycle",
        ("VIEW_EM_SEAT", "VIEW_EM_AUDIT_LOG", "VIEW_EM_CERTIFICATE", "VIEW_EM_PROFILE"),
    ),
    ("1a05282a-ec70-4da9-b921-933c070fcf80", "IoT Trust", ("VIEW_IOT_CERTIFICATE", "VIEW_IOT_ENROLLMENT_PROFILE")),
    (
        "97b97f1b-8d1d-4203-a62c-0a209a1bea0a",
        "Document Trust",
        (
            "MANAGE_DSM_VIEW_CERTIFICATE_PROFILES",
            "MANAGE_DSM_ADD_VALIDATIONS",
            "MANAGE_DSM_VIEW_CERTIFICATE_TEMPLATES",
            "MANAGE_DSM_VIEW_VALIDATIONS",
        ),
    ),
    ("78c0355a-e1ca-4978-b60c-e9d66b9e1f30", "Account Manager", ("MANAGE_AM_ACCOUNT", "VIEW_AM_AUDIT_LOG")),
    ("fd2b688d-43bd-4b4a-9fd6-f883ad9e813d", "CA Manager", ("VIEW_CM_LICENSE",)),
    (
        "7660bdb3-66e7-46e6-928f-dcae4d64ee91",
        "Software Trust",
        ("MANAGE_SM_CERTIFICATE_PROFILE", "VIEW_SM_CERTIFICATE", "SIGN_SM_HASH"),
    ),
)


def user_me(user: SeededUser) -> dict[str, Any]:
    """Every field of the sample, and `end_date` for a user that has one.

    A user without permission keeps only the permissions to view things.
    """
    return {
        "id": user.id,
        "email": user.email,
        "status": user.status,
        "access_scope": "account",
        "primary_account_id": user.account_id,
        "created_at": user.created_at,
        "created_by": _CREATOR,
        "user_type": "service",
        "friendly_name": user.friendly_name,
        "description": "",
        "locale": "en_US",
        **({"end_date": user.end_date} if user.end_date else {}),
        "applications": [
            {"id": id, "name": name, "permissions": kept}
            for id, name, permissions in _APPLICATIONS
            if (kept := [p for p in permissions if user.may_manage or p.startswith("VIEW_")])
        ],
        "accounts": [
            {
                "id": user.account_id,
                "name": user.account_name,
                "active": True,
                "service_period": _SERVICE_PERIOD,
                "friendly_identifier": str(uuid.UUID(user.account_id).int % 10_000_000).zfill(7),
                "locale": "en_US",
            }
        ],
    }

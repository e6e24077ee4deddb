"""What the next person pastes: how curl, Python, Java, C# and DigiCert's own tools use the credential.

No snippet holds a secret; each reads the password from a variable and keeps it out of the process list.
"""

from __future__ import annotations

import shlex
from functools import cache
from pathlib import Path

from jinja2 import Environment as Templates
from jinja2 import FileSystemLoader, StrictUndefined

from runbook_lib import given
from runbook_lib.digicert.client import ME
from runbook_lib.digicert.environments import Environment
from runbook_lib.result import Snippet
from runbook_lib.secrets import SecretRef

SNIPPETS = (
    ("curl", "sh", "curl.sh.j2"),
    ("Python", "python", "client.py.j2"),
    ("Java 11 or later", "java", "Client.java.j2"),
    ("C#", "csharp", "Client.cs.j2"),
    ("Other DigiCert tools (smctl, jsign, CI)", "sh", "sm.sh.j2"),
)


def snippets(environment: Environment, p12: Path, password: SecretRef) -> tuple[Snippet, ...]:
    """The hand-over for a P12.

    Args:
        p12: the path programs are to use; `…/current/identity.p12` follows a rotation.
        password: where the password is; how to load it into a variable is part of the snippet.
    """
    values = {
        "url": f"{environment.clientauth_url}{ME}",
        "host": environment.clientauth_url,
        "p12": str(p12),
        "ca_file": str(environment.ca_file or ""),
        "variable": password.target if password.scheme == "env" else "DIGICERT_ONE_P12_PASSWORD",
        "load": _load(password),
    }
    templates = _templates()
    return tuple(
        Snippet(title=title, language=language, code=templates.get_template(name).render(values).strip() + "\n")
        for title, language, name in SNIPPETS
    )


@cache
def _templates() -> Templates:
    templates = Templates(  # noqa: S701  (these are programs, not HTML; values are quoted by the filters below)
        loader=FileSystemLoader(Path(__file__).with_name("snippets")),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    templates.filters["sh"] = shlex.quote
    templates.filters["literal"] = _literal
    return templates


def _literal(text: str) -> str:
    """A string literal that Python, Java and C# read alike."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(char if char.isprintable() else f"\\u{ord(char):04x}" for char in plain) + '"'


def _load(password: SecretRef) -> str:
    """Shell that puts the password into the variable, or nothing where it is one already."""
    match password.scheme:
        case "env":
            return ""
        case "file":
            path = given.path(password.target)
            return f'export DIGICERT_ONE_P12_PASSWORD="$(cat {shlex.quote(str(path))})"'
        case "keyring":
            service, _, user = password.target.rpartition("/")
            return f'export DIGICERT_ONE_P12_PASSWORD="$(keyring get {shlex.quote(service)} {shlex.quote(user)})"'
        case _:
            return "read -rs DIGICERT_ONE_P12_PASSWORD && export DIGICERT_ONE_P12_PASSWORD"

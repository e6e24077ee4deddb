"""Code to paste: how curl, Python, Java, C# and DigiCert's own tools use the credential.

No snippet holds a secret. Each reads the password from a variable and keeps it out of the process list.
"""

from __future__ import annotations

import re
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

VARIABLE = "DIGICERT_ONE_P12_PASSWORD"
_IN_QUOTES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
"""The escapes of curl's configuration, Java and C#."""

SNIPPETS = (
    ("curl", "sh", "curl.sh.j2"),
    ("Python", "python", "client.py.j2"),
    ("Java 11 or later", "java", "Client.java.j2"),
    ("C#", "csharp", "Client.cs.j2"),
    ("Other DigiCert tools (smctl, jsign, CI)", "sh", "sm.sh.j2"),
)


def snippets(environment: Environment, p12: Path, password: SecretRef) -> tuple[Snippet, ...]:
    """The snippets for a P12.

    Args:
        p12: the path for programs; `…/current/identity.p12` follows a rotation.
        password: where the password is. Each snippet shows how to load it into a variable.
    """
    values = {
        "url": f"{environment.clientauth_url}{ME}",
        "host": environment.clientauth_url,
        "p12": str(p12.absolute()),  # the snippet is pasted in another folder
        "ca_file": str(environment.ca_file.absolute()) if environment.ca_file else "",
        "variable": password.target if password.scheme == "env" and _is_variable(password) else VARIABLE,
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
    templates.filters["curl"] = _curl
    templates.filters["python"] = repr
    templates.filters["comment"] = _comment
    return templates


def _curl(text: str) -> str:
    """The path in `cert = "PATH:PASSWORD"`. curl unquotes the configuration line first, then the path."""
    path = text.replace("\\", "\\\\").replace(":", "\\:")
    return "".join(_IN_QUOTES.get(char, char) for char in path)


def _literal(text: str) -> str:
    """A string literal that Java and C# read alike. It is ASCII, since compilers assume different encodings."""
    units = text.encode("utf-16-be", "surrogatepass")
    codes = [int.from_bytes(units[at : at + 2]) for at in range(0, len(units), 2)]
    # \\u000a ends a line of Java even inside a literal
    return '"' + "".join(_IN_QUOTES.get(chr(code)) or _plain(code) for code in codes) + '"'


def _plain(code: int) -> str:
    return chr(code) if 0x20 <= code < 0x7F else f"\\u{code:04x}"


def _comment(load: str) -> str:
    """A line of shell for a one-line comment. Java reads \\u in comments too."""
    return load if load.isprintable() and "\\" not in load else f"put the password into {VARIABLE}"


def _is_variable(password: SecretRef) -> bool:
    return re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", password.target) is not None


def _load(password: SecretRef) -> str:
    """Shell code that puts the password into the variable; empty if it is in a variable already."""
    match password.scheme:
        case "env":
            return "" if _is_variable(password) else _export(f"printenv {shlex.quote(password.target)}")
        case "file":
            path = given.path(password.target).absolute()
            return _export(f"cat {shlex.quote(str(path))}")
        case "keyring":
            service, _, user = password.target.rpartition("/")
            return _export(f"keyring get {shlex.quote(service)} {shlex.quote(user)}")
        case _:
            return f"read -rs {VARIABLE} && export {VARIABLE}"


def _export(command: str) -> str:
    return f'export {VARIABLE}="$({command})"'

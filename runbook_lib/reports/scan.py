"""Looks for secrets in everything that is about to be archived.

Searched for: what the run's secret references resolve to (before the run and again after it, since a run may write a
`file:` secret), plain values given where a reference is due, and the looks of private keys, DigiCert API tokens and
`x-api-key` headers. A secret is searched for as it is and as JSON, HTML, URL encoding, base64 (at each of the three
alignments, wrapped or not) and hexadecimal would write it. Not seen: secrets drawn into a picture, or compressed.
"""

from __future__ import annotations

import ast
import base64
import html
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

from nbformat import NotebookNode

from runbook_lib.errors import RunbookError
from runbook_lib.secrets import is_reference, resolve

MIN_LENGTH = 8
"""A shorter secret would be found in half of all texts by chance; it is not searched for, and run.json says so."""

SECRET_NAME = re.compile(
    r"(?:^|[_-])(?:api[_-]?key|password|passwd|passphrase|token|secret|private[_-]?key|credential)s?$", re.IGNORECASE
)
"""Parameters of these names take references only."""

_HEADERS = ("BEGIN PRIVATE KEY", "BEGIN RSA PRIVATE KEY", "BEGIN EC PRIVATE KEY", "BEGIN ENCRYPTED PRIVATE KEY")


def base64_forms(secret: bytes) -> set[str]:
    """How `secret` looks inside longer base64, at each alignment, without the characters its neighbours decide."""
    found = set()
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + secret).decode()
        text = text[-(-offset * 8 // 6) : (offset + len(secret)) * 8 // 6]
        found |= {text, text.translate(str.maketrans("+/", "-_"))}
    return found


PATTERNS: dict[str, re.Pattern[str]] = {
    "private key": re.compile(
        "|".join(
            [
                r"-----BEGIN(?:[ +]|%20)(?:[A-Z0-9]+(?:[ +]|%20))*PRIVATE(?:[ +]|%20)KEY-----",
                *(re.escape(form) for header in _HEADERS for form in sorted(base64_forms(header.encode()))),
                # base64 of unencrypted DER: PKCS#8 (RFC 5958) of RSA, P-256, P-384; PKCS#1 (RFC 8017 A.1.2)
                r"MII[A-Za-z0-9+/]{2,4}IBADANBgkqhkiG9w0BAQEFAASC",
                r"AgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0w",
                r"AgEAMBAGByqGSM49AgEGBSuBBAAiBIGe",
                r"MII[EJ][A-Za-z0-9+/]{2,3}IBAAKC",
            ]
        )
    ),
    "DigiCert API token": re.compile(r"(?<![0-9a-f])[0-9a-f]{26}_[0-9a-f]{40,80}(?![0-9a-f])"),
    # a value with a digit: `x-api-key: $DIGICERT_ONE_API_KEY` in a hand-over snippet is a reference, not a secret
    "x-api-key header": re.compile(
        r"x-api-key(?:\\?[\"']|&quot;|&#39;)?\s*[:=,]\s*(?:\\?[\"']|&quot;|&#39;)?"
        r"(?=[A-Za-z0-9_\-+/=.]*\d)[A-Za-z0-9_\-+/=.]{16,}",
        re.IGNORECASE,
    ),
}


_AT_LEAST = {"DigiCert API token": re.compile(r"_[0-9a-f]{40}")}
"""What a find has in it, and what is found several times as fast."""


def _looks_like(name: str, text: str) -> bool:
    if name in _AT_LEAST and not _AT_LEAST[name].search(text):
        return False
    return PATTERNS[name].search(text) is not None


@dataclass(frozen=True)
class Finding:
    """What was found and where. Never the secret: `what` is its reference or a pattern's name."""

    file: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.what} in {self.file}" + (f", {self.where}" if self.where else "")


def secret_forms(value: str) -> list[str]:
    """Every spelling of a secret that is searched for, longest first."""
    raw = value.encode("utf-8", "surrogatepass")
    as_json = {json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    found = {value, *as_json, *(json.dumps(text)[1:-1] for text in as_json), repr(value)[1:-1]}
    found |= {html.escape(text, quote=quoting) for text in (value, *as_json) for quoting in (True, False)}
    found |= {html.escape(value).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")}
    found |= {quote(value, safe=""), quote(value), quote_plus(value)}
    found |= base64_forms(raw) | {raw.hex(), raw.hex().upper(), raw.hex(":"), raw.hex(" ")}
    return sorted(found, key=lambda text: (-len(text), text))


@dataclass
class Scanner:
    """Everything that must not be archived, and the search for it.

    Args:
        references: every reference among the parameters.
        environ: what `env:` references are resolved in.
    """

    references: tuple[str, ...]
    environ: Mapping[str, str]
    unsearched: dict[str, str] = field(default_factory=dict)
    _forms: dict[str, list[str]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.look_up()

    def look_up(self) -> None:
        """Resolve the references as they are now. What cannot be resolved is noted in `unsearched`: it is not known,
        so neither could the notebook have shown it."""
        for reference in self.references:
            try:
                secret = resolve(reference, environ=self.environ)
            except RunbookError as error:
                self.unsearched.setdefault(reference, error.explanation.title)
            else:
                self.add(reference, secret.reveal())

    def add(self, label: str, value: str) -> None:
        """Search for `value` too, and call it `label`."""
        if len(value) < MIN_LENGTH:
            self.unsearched[label] = f"shorter than {MIN_LENGTH} characters"
            return
        self.unsearched.pop(label, None)
        forms = set(self._forms.get(label, [])) | set(secret_forms(value))
        self._forms[label] = sorted(forms, key=lambda text: (-len(text), text))

    @property
    def searched(self) -> tuple[str, ...]:
        return tuple(sorted(self._forms))

    def labels_in(self, text: str) -> set[str]:
        """What is found in a text."""
        # base64 is often wrapped, and a notebook writes the line ends of a wrapped text as \n
        compact = "".join(re.sub(r"\\[nr]", "", text).split())
        found = {label for label, forms in self._forms.items() if any(f in text or f in compact for f in forms)}
        return found | {name for name in PATTERNS if _looks_like(name, text) or _looks_like(name, compact)}

    def in_file(self, name: str, text: str) -> list[Finding]:
        return [Finding(name, "", label) for label in sorted(self.labels_in(text))]

    def in_notebook(self, name: str, nb: NotebookNode) -> list[Finding]:
        """Search source, outputs and metadata, widget state included. Cells are counted from 1."""
        parts: list[tuple[str, Any]] = [("notebook metadata", nb.metadata)]
        for number, cell in enumerate(nb.cells, 1):
            place = f"cell {number} ({cell.cell_type})"
            parts += [(f"{place}: {key}", cell[key]) for key in sorted(cell)]
        # each string as it is, and once more all together as JSON: a widget's state may hold a text in pieces
        texts = {where: [*_strings(part), json.dumps(part, ensure_ascii=False)] for where, part in parts}
        # what is in none of them together is in none of them; where is asked only then
        if not self.labels_in("\0".join(text for some in texts.values() for text in some)):
            return []
        found = []
        for where, some in texts.items():
            labels = set[str]().union(*map(self.labels_in, some))
            found += [Finding(name, where, label) for label in sorted(labels)]
        return found

    def redact(self, value: Any) -> Any:
        """The same JSON value with each find replaced by what it is called. Keys are left: they are ours."""
        if isinstance(value, str):
            for label, forms in self._forms.items():
                for form in forms:
                    value = value.replace(form, f"[withheld: {label}]")
            for name, look in PATTERNS.items():
                value = look.sub(f"[withheld: {name}]", value)
            return value
        if isinstance(value, Mapping):
            return {key: self.redact(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.redact(item) for item in value]
        return value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)


def references_in(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Every reference to a secret among the parameters' values, nested ones included."""
    return tuple(sorted({text.strip() for text in _strings(list(parameters.values())) if is_reference(text)}))


def plain_secrets(parameters: Any) -> Iterator[tuple[str, str]]:
    """Secrets given as plain values: the parameter's name and the value. Looks into nested values.

    A parameter called like a secret whose value is no reference, or any value that looks like a key or a token.
    """
    if isinstance(parameters, list | tuple):
        for item in parameters:
            yield from plain_secrets(item)
    if not isinstance(parameters, Mapping):
        return
    items = [
        (name, one)
        for name, value in parameters.items()
        for one in (value if isinstance(value, list | tuple) else [value])
    ]
    for name, value in items:
        if isinstance(value, Mapping | list | tuple):
            yield from plain_secrets(value)
        elif value not in (None, "") and not isinstance(value, bool) and not is_reference(value):
            named_so = SECRET_NAME.search(str(name))
            if named_so or any(pattern.search(str(value)) for pattern in PATTERNS.values()):
                yield str(name), str(value)


def default_parameters(nb: NotebookNode) -> dict[str, Any] | None:
    """The names and defaults of the cell tagged `parameters`; None where a notebook has no such cell.

    A default that is no literal counts as None. Only Python is understood.
    """
    cell = next((cell for cell in nb.cells if "parameters" in cell.metadata.get("tags", [])), None)
    if cell is None:
        return None
    found: dict[str, Any] = {}
    try:
        body = ast.parse(cell.source).body
    except SyntaxError:
        return found
    for statement in body:
        if isinstance(statement, ast.Assign):
            targets, value = statement.targets, statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets, value = [statement.target], statement.value
        else:
            continue
        try:
            default = ast.literal_eval(value)
        except ValueError:
            default = None
        found.update({target.id: default for target in targets if isinstance(target, ast.Name)})
    return found

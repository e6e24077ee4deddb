"""Searches everything that is about to be archived for secrets, as final bytes.

It searches for what the run's references resolve to (before the run and again after it, since a run can write a `file:`
secret), the secrets in the environment's `DIGICERT_ONE_*` variables, plain values given instead of a reference, and
patterns of private keys, DigiCert API tokens and `x-api-key` headers. `spellings` lists how a file may write them;
docs/threat-model.md lists the ways of hiding one that are not found.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from runbook_lib.errors import Reason, RunbookError
from runbook_lib.looks import (
    MIN_LENGTH,
    PATTERNS,
    base64_forms,
    looks_random,
    looks_secret,
    names_secret,
    secret_forms,
)
from runbook_lib.reports.runrecord import Found
from runbook_lib.reports.spellings import bones, spellings
from runbook_lib.secrets import is_reference, resolve

if TYPE_CHECKING:
    from nbformat import NotebookNode

IN_A_NAME = "(a parameter's name)"
"""The name that `plain_secrets` gives a parameter whose name is the secret."""

_END = 4096
_MANY, _PIECE = 50, 1 << 20

_OWN_VARIABLE = re.compile(r"DIGICERT_ONE_\w+")
_NO_SPACE = bytes(range(33)) + b"\"'\\,"
_KEY_HEADER = re.compile(rb"-{5}BEGIN[A-Z0-9 +]{0,40}PRIVATE[ +]?KEY-{5}")
_TOKEN = re.compile(PATTERNS["DigiCert API token"].pattern.encode())
_TOKEN_AT_LEAST = re.compile(rb"_[0-9a-f]{40}")
_KEY_PARAMETER = re.compile(PATTERNS["x-api-key header"].pattern.encode(), re.IGNORECASE)
_DER = re.compile(
    rb"\x02\x01\x00\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00\x04\x82"  # PKCS#8 (RFC 5958): RSA
    rb"|\x02\x01\x00\x30[\x10-\x16]\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06"  # of an elliptic curve
    rb"|\x02\x01\x00\x30\x05\x06\x03\x2b\x65[\x6e-\x71]\x04"  # Ed25519 and its kin (RFC 8410)
    rb"|\x30\x82..\x02\x01\x00\x02\x82[\x00-\x04].\x00"  # PKCS#1 (RFC 8017 A.1.2)
    rb"|\x02\x01\x01\x04[\x20\x30\x42].{32,66}\xa0[\x05-\x0a]\x06[\x05-\x08]\x2a\x86\x48\xce|openssh-key-v1\x00",
    re.DOTALL,
)


_MAY_BE_DER = (b"\x02\x01\x00\x30", b"\x02\x01\x00\x02", b"\x2a\x86\x48\xce\x3d\x03\x01", b"openssh-key-v1\x00")


def _looks(data: bytes, skeleton: bytes, lowered: bytes, is_text: bool) -> Iterator[str]:
    """The names of the PATTERNS found in a text, or in text decoded from base64.

    The bones are searched first: most texts cost no more than that.
    """
    may_be_key, may_be_header = b"PRIVATEKEY" in skeleton, b"apikey" in lowered
    texts = [data]
    if is_text and (may_be_key or may_be_header):
        texts.append(data.translate(None, _NO_SPACE))
    may_be_der = not data.isascii() or b"\0" in data
    if (may_be_key and any(map(_KEY_HEADER.search, texts))) or (
        may_be_der and any(mark in data for mark in _MAY_BE_DER) and _DER.search(data)
    ):
        yield "private key"
    if _TOKEN_AT_LEAST.search(skeleton) and any(map(_TOKEN.search, (data, skeleton))):
        yield "DigiCert API token"
    if may_be_header and any(map(_KEY_PARAMETER.search, texts)):
        yield "x-api-key header"


@dataclass(frozen=True)
class _Needles:
    """What identifies a secret in a text's bones: exact, and in lower case."""

    exact: frozenset[bytes]
    small: frozenset[bytes]

    @classmethod
    def of(cls, value: str) -> _Needles | None:
        """None for a secret with too few bones or letters: any text could contain it by chance."""
        raw = value.encode("utf-8", "surrogatepass")
        own = bones(raw)
        if len(own) < MIN_LENGTH or sum(chr(byte).isalpha() for byte in own) < 3:
            return None
        bytewise = (raw, value.encode("utf-16-le", "surrogatepass"))
        exact = {own, "".join(map(str, raw)).encode()}
        exact |= {bones(form.encode()) for encoded in bytewise for form in base64_forms(encoded)}
        small = {encoded.hex().encode() for encoded in bytewise} | {"".join(f"0x{byte:02x}" for byte in raw).encode()}
        if len(own) >= 12 and any(chr(byte).isdigit() for byte in own):
            small.add(own.lower())
        return cls(*(frozenset(form for form in forms if len(form) >= MIN_LENGTH) for forms in (exact, small)))

    def within(self, skeleton: bytes, lowered: bytes) -> bool:
        return any(form in skeleton for form in self.exact) or any(form in lowered for form in self.small)


@dataclass
class Scanner:
    """Everything that must not be archived, and the search for it.

    Args:
        references: every reference among the parameters.
        environ: resolves `env:` references. Its own `DIGICERT_ONE_*` secrets are searched for too.
    """

    references: tuple[str, ...]
    environ: Mapping[str, str]
    unsearched: dict[str, str] = field(default_factory=dict)
    _forms: dict[str, list[str]] = field(default_factory=dict, repr=False)
    _needles: dict[str, list[_Needles]] = field(default_factory=dict, repr=False)
    _heads: tuple[dict[bytes, set[str]], ...] = field(default_factory=lambda: ({}, {}), repr=False)
    _exact: dict[str, list[bytes]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for name, value in self.environ.items():
            if _OWN_VARIABLE.fullmatch(name) and names_secret(name, value) and len(value) >= MIN_LENGTH:
                self.add(f"env:{name}", value)
        self.look_up()

    def look_up(self) -> None:
        """Resolve the references now. Those that fail go into `unsearched`: the notebook cannot resolve them either."""
        for reference in self.references:
            try:
                secret = resolve(reference, environ=self.environ)
            except RunbookError as error:
                self.unsearched.setdefault(reference, error.explanation.title)
            else:
                self.add(reference, secret.reveal())

    def add(self, label: str, value: str) -> None:
        """Search for `value` too, and report it as `label`."""
        if len(value) < MIN_LENGTH:
            self.unsearched[label] = f"shorter than {MIN_LENGTH} characters"
            return
        self.unsearched.pop(label, None)
        forms = set(self._forms.get(label, [])) | set(secret_forms(value))
        self._forms[label] = sorted(forms, key=lambda text: (-len(text), text))
        if (needles := _Needles.of(value)) is not None:
            self._needles.setdefault(label, []).append(needles)
            for heads, needle_forms in zip(self._heads, (needles.exact, needles.small), strict=True):
                for form in needle_forms:
                    heads.setdefault(form[:MIN_LENGTH], set()).add(label)
        if needles is None or not value.isprintable():  # escaped, a control character adds letters: `\b`
            exact = [form.encode("utf-8", "surrogatepass") for form in secret_forms(value)]
            for encoding in ("utf-16-le", "utf-16-be"):
                wide = value.encode(encoding, "surrogatepass")
                exact += [wide, *(form.encode() for form in base64_forms(wide)), wide.hex().encode()]
            self._exact[label] = [*self._exact.get(label, []), *exact]

    @property
    def searched(self) -> tuple[str, ...]:
        return tuple(sorted(self._forms))

    def labels_in(self, content: str | bytes) -> set[str]:
        """The labels of the secrets found in a text, or in a file's bytes."""
        data = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        found = self._exact_in(data)
        for text, is_text in spellings(data):
            skeleton = bones(text)
            lowered = skeleton.lower()
            found.update(_looks(text, skeleton, lowered, is_text))
            for label in self._may_be_in(skeleton, lowered) - found:
                if any(needles.within(skeleton, lowered) for needles in self._needles[label]):
                    found.add(label)
        return found

    def _may_be_in(self, skeleton: bytes, lowered: bytes) -> set[str]:
        """Of many secrets, those whose first characters are there. The cost does not grow with their number."""
        if len(self._needles) <= _MANY:
            return set(self._needles)
        found: set[str] = set()
        for text, heads in ((skeleton, self._heads[0]), (lowered, self._heads[1])):
            for start in range(0, len(text), _PIECE):
                piece = text[start : start + _PIECE + MIN_LENGTH - 1]
                there = {piece[at : at + MIN_LENGTH] for at in range(len(piece) - MIN_LENGTH + 1)}
                found.update(*(heads[head] for head in heads.keys() & there))
        return found

    def _exact_in(self, data: bytes) -> set[str]:
        if not self._exact:
            return set()
        # base64 is often wrapped, and a notebook writes its line breaks as \n
        compact = b"".join(re.sub(rb"\\[nr]", b"", data).split())
        return {label for label, forms in self._exact.items() if any(f in data or f in compact for f in forms)}

    def in_file(self, name: str, content: str | bytes) -> list[Found]:
        """Search a file and its name. A name that contains a secret is not shown."""
        shown = "a file's name" if (in_name := self.labels_in(name)) else name
        return [Found(file=shown, where="", what=label) for label in sorted(in_name | self.labels_in(content))]

    def in_notebook(self, name: str, nb: NotebookNode, content: str | bytes) -> list[Found]:
        """Search a notebook's file, and what a reader can put together: adjacent outputs and adjacent cells.

        Args:
            content: the file. Sources, outputs and metadata are searched for the place; cells are counted from 1.
        """
        labels = self.labels_in(content).union(*map(self.labels_in, _together(nb)))
        if not labels:
            return []
        parts: list[tuple[str, Any]] = [("notebook metadata", nb.metadata)]
        for number, cell in enumerate(nb.cells, 1):
            place = f"cell {number} ({cell.cell_type})"
            parts += [(f"{place}: {key}", cell[key]) for key in sorted(cell)]
        found = []
        for where, part in parts:
            texts = [*_strings(part), json.dumps(part, ensure_ascii=False)]
            here = set[str]().union(*map(self.labels_in, texts))
            found += [Found(file=name, where=where, what=label) for label in sorted(here)]
        missing = labels - {finding.what for finding in found}
        return found + [Found(file=name, where="spread over several places", what=label) for label in sorted(missing)]

    def redact(self, value: Any) -> Any:
        """The same JSON value with each secret replaced by its label, names of fields included.

        A text that still contains a secret in another spelling is withheld as a whole.
        """
        if isinstance(value, str):
            for label, forms in self._forms.items():
                for form in forms:
                    value = value.replace(form, f"[withheld: {label}]")
            for name, look in PATTERNS.items():
                value = look.sub(f"[withheld: {name}]", value)
            left = self.labels_in(value)
            return f"[withheld: {', '.join(sorted(left))}]" if left else value
        if isinstance(value, Mapping):
            redacted: dict[Any, Any] = {}
            for key, item in value.items():
                shown = name = self.redact(str(key)) if isinstance(key, str | int) else key
                while name in redacted:
                    name = f"{shown} ({len(redacted)})"
                redacted[name] = self.redact(item)
            return redacted
        if isinstance(value, list | tuple):
            return [self.redact(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and (left := self.labels_in(str(value))):
            return f"[withheld: {', '.join(sorted(left))}]"
        return value


def _together(nb: NotebookNode) -> Iterator[str]:
    """What a reader sees next to each other but the file stores apart: everything, sources, outputs, each kind."""
    everything: list[str] = []
    kinds: dict[str, list[str]] = {}
    for cell in nb.cells:
        source = list(_strings(cell.source))
        everything += source
        kinds.setdefault("source", []).extend(source)
        for output in cell.get("outputs", []):
            shown = {output.get("name", "text"): output.get("text"), **output.get("data", {})}
            shown |= {key: output.get(key) for key in ("evalue", "traceback")}
            for kind, value in shown.items():
                texts = list(_strings(value))
                everything += texts
                kinds.setdefault(kind, []).extend(texts)
                kinds.setdefault("outputs", []).extend(texts)
    # a single text is in the file as it is
    yield from dict.fromkeys("".join(map(_ends, texts)) for texts in (everything, *kinds.values()) if len(texts) > 1)


def _ends(text: str) -> str:
    """Where a text meets its neighbours; the file itself shows the middle of a long one."""
    return text if len(text) <= 2 * _END else f"{text[:_END]}\0{text[-_END:]}"


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


def refuse_names(names: Iterable[str], references: Iterable[str], environ: Mapping[str, str]) -> None:
    """Refuse names of files, folders and accounts that contain a secret. Keyrings are not asked.

    Raises RunbookError (SECRET_AS_VALUE).
    """
    scanner = Scanner(tuple(text for text in references if not text.startswith("keyring:")), environ)
    if scanner.labels_in("\nZ\n".join(names)):  # the letter keeps names from joining
        raise RunbookError(
            Reason.SECRET_AS_VALUE,
            "The name of a notebook, a fleet file or an account contains a secret. It is not shown here.",
            remedy="Rename it, and replace the secret: it was visible wherever the name is.",
        )


def references_in(parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """Every reference to a secret among the parameters' values, nested ones included."""
    return tuple(sorted({text.strip() for text in _strings(list(parameters.values())) if is_reference(text)}))


def plain_secrets(parameters: Any, known: Mapping[str, Any] | None = None) -> Iterator[tuple[str, str]]:
    """Secrets given as plain values: the parameter's name and the value, nested values included.

    Found are parameters named like a secret whose value is not a reference; values and names that look like a key or a
    token; and unknown names whose value is the name of a known secret parameter: the two were swapped.

    Args:
        known: the notebook's parameters.
    """
    if isinstance(parameters, list | tuple):
        for item in parameters:
            yield from plain_secrets(item, known)
    if not isinstance(parameters, Mapping):
        return
    items = [
        (str(name), item)
        for name, value in parameters.items()
        for item in (value if isinstance(value, list | tuple) else [value])
    ]
    for name, value in items:
        swapped = known is not None and name not in known and isinstance(value, str) and value in known
        if looks_secret(name) or looks_random(name) or (swapped and names_secret(str(value), "text")):
            yield IN_A_NAME, name
        if isinstance(value, Mapping | list | tuple):
            yield from plain_secrets(value, known)
        elif not is_reference(value) and (names_secret(name, value) or looks_secret(str(value))):
            yield name, str(value)


def default_parameters(nb: NotebookNode) -> dict[str, Any] | None:
    """The names and defaults in the cell tagged `parameters`; None if the notebook has no such cell."""
    return assigned(nb, "parameters")


def assigned(nb: NotebookNode, tag: str) -> dict[str, Any] | None:
    """What the first cell with this tag assigns to names; None if the notebook has no such cell.

    A value that is not a literal becomes None. Only Python is read.
    """
    cell = next((cell for cell in nb.cells if tag in cell.metadata.get("tags", [])), None)
    if cell is None:
        return None
    found: dict[str, Any] = {}
    try:
        body = ast.parse(cell.source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # a surrogate; a thousand brackets
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
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):  # as ast names them
            default = None
        found.update({target.id: default for target in targets if isinstance(target, ast.Name)})
    return found

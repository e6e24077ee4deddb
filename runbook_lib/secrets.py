"""Secrets: a parameter names where a secret is, and this module fetches it.

References: `env:NAME`, `file:PATH`, `keyring:SERVICE/USER`, and `prompt:` (in a notebook only). The result is a
`Secret`, which never prints, pickles or compares itself; only `reveal()` returns it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from runbook_lib import given, looks
from runbook_lib.errors import Reason, RunbookError

SCHEMES = ("env", "file", "keyring", "prompt")

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")

Prompt = Callable[[str], str]
"""Asks the person at the notebook: takes the name of the secret, returns what was typed."""


class Secret:
    """A secret value and its source. Every representation hides the value."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str) -> None:
        self._value = value
        self.source = source

    def reveal(self) -> str:
        """The secret itself. Call this where the secret is used, and keep the result in no long-lived variable."""
        return self._value

    def masked(self) -> str:
        """Enough to tell two secrets apart: the last four characters of a long secret."""
        return f"…{self._value[-4:]}" if len(self._value) >= 20 else "…"

    def __repr__(self) -> str:
        return f"Secret(from {self.source})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret must not be pickled")


@dataclass(frozen=True)
class SecretRef:
    """Where a secret is."""

    scheme: str
    target: str

    @classmethod
    def parse(cls, text: str) -> SecretRef:
        """Read `scheme:target`.

        Raises:
            RunbookError: SECRET_AS_VALUE if it is not a reference. The error does not quote the text: it may be the
                secret.
        """
        scheme, colon, target = text.strip().partition(":")
        if not colon or scheme not in SCHEMES or (scheme != "prompt" and not target.strip()):
            raise RunbookError(
                Reason.SECRET_AS_VALUE, "Don't paste the secret here. Say where it is, for example env:NAME."
            )
        if looks.looks_secret(target) or (looks.looks_random(target.strip()) and "/" not in target):
            raise RunbookError(
                Reason.SECRET_AS_VALUE,
                "The reference names something that looks like a secret itself. It is not shown.",
            )
        if scheme == "env" and not _VARIABLE.fullmatch(target.strip()):
            raise RunbookError(Reason.SECRET_AS_VALUE, f"The text after {scheme}: is not the name of a variable.")
        if scheme == "keyring" and "/" not in target:
            raise RunbookError(Reason.SECRET_AS_VALUE, "A keyring reference must be keyring:SERVICE/USER.")
        return cls(scheme, target.strip())

    def __str__(self) -> str:
        return f"{self.scheme}:{self.target}"


def is_reference(value: Any) -> bool:
    """Whether a parameter's value is a reference to a secret."""
    if not isinstance(value, str):
        return False
    try:
        SecretRef.parse(value)
    except RunbookError:
        return False
    return True


def resolve(
    reference: str | SecretRef, *, environ: Mapping[str, str] | None = None, prompt: Prompt | None = None
) -> Secret:
    """Fetch the secret that a reference names.

    Args:
        reference: for example `env:DIGICERT_ONE_API_KEY`.
        environ: in place of the process's environment.
        prompt: asks a person. Without it, as in a headless run, `prompt:` is refused.

    Raises:
        RunbookError: SECRET_AS_VALUE, SECRET_NOT_FOUND or SECRET_EXPOSED.
    """
    ref = reference if isinstance(reference, SecretRef) else SecretRef.parse(reference)
    fetch = {"env": _from_env, "file": _from_file, "keyring": _from_keyring, "prompt": _from_prompt}[ref.scheme]
    value = fetch(ref, os.environ if environ is None else environ, prompt)
    if not value:
        raise RunbookError(Reason.SECRET_NOT_FOUND, f"{ref} is empty.")
    if ref.scheme != "prompt":  # only a notebook asks, and it need not keep what was typed
        looks.remember(value)
    return Secret(value, str(ref))


def _from_env(ref: SecretRef, environ: Mapping[str, str], prompt: Prompt | None) -> str:
    if ref.target not in environ:
        raise RunbookError(
            Reason.SECRET_NOT_FOUND,
            f"The environment variable {ref.target} is not set.",
            remedy=f"Set it where Jupyter or the scheduler starts (for the sandbox: `set -a; . DIR/sandbox.env`), "
            f"or change the reference {ref}.",
        )
    return environ[ref.target]


def _from_file(ref: SecretRef, environ: Mapping[str, str], prompt: Prompt | None) -> str:
    try:
        path = given.path(ref.target)
    except ValueError as error:
        raise RunbookError(Reason.SECRET_NOT_FOUND, f"{ref.scheme}: {error}.") from None
    try:
        with path.open(encoding="utf-8") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if mode & stat.S_IROTH:
                raise RunbookError(Reason.SECRET_EXPOSED, f"Everybody on this machine can read {path}.")
            # an editor or `echo` adds a newline that is not part of the secret
            return stream.read().rstrip("\r\n")
    except OSError as error:
        raise RunbookError(Reason.SECRET_NOT_FOUND, f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise RunbookError(Reason.SECRET_NOT_FOUND, f"{path} is not a text file.") from None


def _from_keyring(ref: SecretRef, environ: Mapping[str, str], prompt: Prompt | None) -> str:
    import keyring
    import keyring.errors

    service, _, user = ref.target.rpartition("/")
    try:
        value = keyring.get_password(service, user)
    except keyring.errors.KeyringError as error:
        raise RunbookError(Reason.SECRET_NOT_FOUND, f"The keyring did not answer: {type(error).__name__}.") from None
    if value is None:
        raise RunbookError(
            Reason.SECRET_NOT_FOUND,
            f"The keyring has no entry for service {service!r} and user {user!r}.",
            remedy=f"Run `keyring set '{service}' '{user}'`.",
        )
    return value


def _from_prompt(ref: SecretRef, environ: Mapping[str, str], prompt: Prompt | None) -> str:
    if prompt is None:
        raise RunbookError(
            Reason.SECRET_NOT_FOUND,
            "prompt: asks a person, which a headless run cannot do.",
            remedy="Use env:, file: or keyring: instead.",
        )
    return prompt(ref.target or "secret")

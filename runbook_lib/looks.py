"""How to recognise a secret, its spellings and the parameters that take one. Light to import, for the command line."""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from typing import Any

_HEADERS = ("BEGIN PRIVATE KEY", "BEGIN RSA PRIVATE KEY", "BEGIN EC PRIVATE KEY", "BEGIN ENCRYPTED PRIVATE KEY")


def base64_forms(secret: bytes) -> set[str]:
    """How `secret` looks inside longer base64, at each alignment, without the characters that its neighbours decide."""
    found = set()
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + secret).decode()
        text = text[-(-offset * 8 // 6) : (offset + len(secret)) * 8 // 6]
        found |= {text, text.translate(str.maketrans("+/", "-_"))}
    return found


def secret_forms(value: str) -> list[str]:
    """The usual spellings of a secret, longest first: to mask, redact and search for."""
    import html  # not needed for `--help`
    import json
    from urllib.parse import quote, quote_plus

    raw = value.encode("utf-8", "surrogatepass")
    as_json = {json.dumps(value, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    found = {value, *as_json, *(json.dumps(text)[1:-1] for text in as_json), repr(value)[1:-1]}
    found |= {html.escape(text, quote=quoting) for text in (value, *as_json) for quoting in (True, False)}
    found |= {html.escape(value).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"), value.replace('"', '""')}
    found |= {quote(value, safe=""), quote(value), quote_plus(value)}
    found |= base64_forms(raw) | {raw.hex(), raw.hex().upper(), raw.hex(":"), raw.hex(" ")}
    return sorted(found, key=lambda text: (-len(text), text))


TOKEN = r"[0-9a-f]{26}_[0-9a-f]{40,80}"  # noqa: S105  (a pattern)
"""What an API token of DigiCert ONE looks like."""

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
    "DigiCert API token": re.compile(rf"(?<![0-9a-f]){TOKEN}(?![0-9a-f])"),
    # a value with a digit: `x-api-key: $DIGICERT_ONE_API_KEY` in a hand-over snippet is a reference, not a secret
    "x-api-key header": re.compile(
        r"x-api-key(?:\\?[\"']|&quot;|&#39;)?\s*[:=,]\s*(?:\\?[\"']|&quot;|&#39;)?"
        r"(?=[A-Za-z0-9_\-+/=.]*\d)[A-Za-z0-9_\-+/=.]{16,}",
        re.IGNORECASE,
    ),
}


def looks_secret(text: str) -> bool:
    """Whether a text contains a private key, an API token or a header with one."""
    return any(pattern.search(text) for pattern in PATTERNS.values())


# --- what is written -------------------------------------------------------------------------------------------------

MIN_LENGTH = 8
"""A shorter secret occurs in many texts by chance, so it is neither searched for nor masked."""

_KNOWN: set[str] = set()
_PART = re.compile(r"[0-9a-f]{26}_|PRIVATE KEY")
_RANDOM, _FEWEST = 20, 3


def remember(value: str) -> None:
    """Withhold this secret from everything that this process writes from now on. It stays in memory until the end."""
    if len(value) >= MIN_LENGTH:
        _KNOWN.add(value)


def withheld(text: str) -> str:
    """The text without the secrets that this process has resolved, and without what looks like a secret.

    Every line on a terminal and in a log passes through here.
    """
    for form in _masks(frozenset(_KNOWN)):
        text = text.replace(form, "[withheld]")
    for name, pattern in PATTERNS.items():
        text = pattern.sub(f"[withheld: {name}]", text)
    return text


@lru_cache(maxsize=1)
def _masks(known: frozenset[str]) -> tuple[str, ...]:
    """Every spelling of these secrets, longest first: one may contain another."""
    forms = {form for value in known for form in secret_forms(value) if len(form) >= MIN_LENGTH}
    return tuple(sorted(forms, key=len, reverse=True))


def could_be_secret(text: str) -> bool:
    """Whether an error should not quote a value. Less strict than `looks_random`: an innocent value that is described
    by its length does no harm."""
    words = re.split(r"[\s/:]+", text)
    return _PART.search(text) is not None or withheld(text) != text or any(map(_random_enough, words))


def _random_enough(word: str) -> bool:
    letters = sum(map(str.isalpha, word)) if len(word) >= _RANDOM else 0
    return _FEWEST <= letters <= len(word) - _FEWEST and len(set(word)) > _FEWEST * 2


def looks_random(word: str) -> bool:
    """Whether a word looks generated, not chosen as a name: 20 or more characters of both cases with three groups of
    digits, or 32 or more hexadecimal digits."""
    if re.fullmatch(r"(?=.*[a-f])(?=.*\d)[0-9a-f]{32,}", word):
        return True
    mixed = re.fullmatch(r"(?=.*[a-z])(?=.*[A-Z])[A-Za-z0-9_\-+=]{20,}", word)
    return mixed is not None and len(re.findall(r"\d+", word)) >= 3


# --- names of parameters ----------------------------------------------------------------------------------------------

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_ONE = {
    *("password", "passwd", "pwd", "passphrase", "passcode", "passwort", "kennwort", "token", "secret", "credential"),
    *("apikey", "bearer", "authorization"),
}
_TWO = {("api", "key"), ("private", "key"), ("secret", "key"), ("access", "key"), ("auth", "key"), ("signing", "key")}
_COUNTING = {
    "max",
    "min",
    "maximum",
    "minimum",
    "num",
    "number",
    "count",
    "n",
    "limit",
    "total",
    "budget",
    "per",
    "new",
}
_NO_SECRET = {
    *("", "-", "none", "null", "n/a", "no", "yes", "off", "on", "true", "false", "auto", "default", "optional"),
    *("required", "enabled", "disabled"),
}
_LEAST_DIGITS = 4


def names_secret(name: str, value: Any) -> bool:
    """Whether a parameter of this name takes a secret, and the value may be one.

    The name's last word decides: `api_key` and `clientSecret` do, `token_count` and `tokenizer` do not. A number is a
    secret if the name is singular (`password`), not if it is plural (`max_tokens`).
    """
    words = [word.lower() for word in _WORD.findall(name)]
    while words and words[-1].isdigit():  # api_key_2
        words.pop()
    if not words:
        return False
    last = words[-1]
    many = last not in _ONE and last.endswith("s")
    last = last.removesuffix("s") if many else last
    if last not in _ONE and (words[-2] if len(words) > 1 else "", last) not in _TWO:
        return False
    text = str(value).strip()
    if value is None or isinstance(value, bool | float) or text.lower() in _NO_SECRET:
        return False
    counting = not _COUNTING.isdisjoint(words)
    if isinstance(value, int) or (text.isascii() and text.isdigit()):
        return not many and not counting and len(text.lstrip("-")) >= _LEAST_DIGITS
    return not (many and counting and len(text) < 12)

"""What a secret looks like, and what a parameter that takes one is called. Light: the command line asks for it."""

from __future__ import annotations

import base64
import re
from typing import Any

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


def looks_secret(text: str) -> bool:
    """Whether a private key, an API token or a header with one is in a text."""
    return any(pattern.search(text) for pattern in PATTERNS.values())


def withheld(text: str) -> str:
    """The text without what looks like a secret: for whatever is told before a run's secrets are known."""
    for name, pattern in PATTERNS.items():
        text = pattern.sub(f"[withheld: {name}]", text)
    return text


def looks_random(word: str) -> bool:
    """Whether a word was made by a machine rather than chosen as a name: 20 characters or more of both cases with three
    groups of digits, or 32 of hexadecimal."""
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

    What counts is the name's last word: `api_key` and `clientSecret` do, `token_count` and `tokenizer` do not. A number
    is a secret where the name is of one (`password`), and none where it is of many (`max_tokens`).
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

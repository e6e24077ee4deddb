"""What the tests of the doors share: nasty pieces, how long one test goes on, and what may come out."""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from runbook_lib.errors import RunbookError

SECONDS = float(os.environ.get("RUNBOOK_FUZZ_SECONDS", "60")) if os.environ.get("RUNBOOK_SOAK") else 0.0
SLOWEST_SECONDS = 10
"""No small input may take longer."""

# ruff: noqa: E501
ATOMS = (
    "", " ", "\t", "\n", "\r\n", "\0", "\x1b[31m", "\x85", "\u2028", "\u202e", "\ufeff", "\ud800", "\udcff", "é", "ﬀ", "٣", "😀",
    "~", "~nobody2/x", "~root", "/", "..", "a/b", "x" * 300, "x" * 5000, "9" * 400, "9" * 5000, "-0", "0012", "1_000", "1e3", "1e400",
    "0x1F", "0o17", ".inf", ".nan", "nan", "inf", "1.10", "12:30:00", "2026-01-01", "0001-01-01", "9999-12-31", "10000-01-01",
    "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2026-02-30", "2026-01-01T00:00:00", "NO", "ON", "yes", "null",
    "true", "False", "None", "{}", "[]", "{{", "%s", "%", "\\", '"', "'", "`", "$", "$(id)", ";", ",", ":", "=", "=1+1", "@", "#",
    "&a", "*a", "<<", "!!int", "!!timestamp x", "|", ">", "-", "?", "---", "...", "env:", "env:A", "env:A=B", "env:\0", "file:",
    "file:~nobody2/x", "file:/", "keyring:", "keyring:/", "keyring:a/b", "prompt:", "https://[bad", "https://one..example",
    "https://a:99999", "https://a@b", "https://\u2100.example", "http://a", "sandbox", "production", "system", "headless",
)  # fmt: skip

nasty = st.sampled_from(ATOMS)
text = nasty | st.text(max_size=20) | st.lists(nasty, min_size=1, max_size=4).map("".join)
scalars = text | st.none() | st.booleans() | st.integers() | st.floats()
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """A file's content with a few bytes cut out, doubled, flipped or replaced by something nasty."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 12)))
        put = draw(
            st.just(b"")
            | st.binary(max_size=4)
            | text.map(lambda one: one.encode("utf-8", "surrogatepass"))
            | st.just(content[at:end] * 2)
        )
        content = content[:at] + put + content[end:]
    return content


def fuzz(*strategies: Any, examples: int = 60) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """As `hypothesis.given`, of a function without fixtures; in a soak again and again until the time is over."""

    def wrap(function: Callable[..., None]) -> Callable[..., None]:
        quick = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=not SECONDS,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.explicit, Phase.generate, Phase.shrink),
        )

        def test() -> None:
            counted = 0

            def once(arguments: tuple[Any, ...]) -> None:
                nonlocal counted
                counted += 1
                function(*arguments)

            until = time.monotonic() + SECONDS
            while True:
                number = random.randrange(10**9)  # noqa: S311
                run = given(st.tuples(*strategies))(once)
                (seed(number)(quick(run)) if SECONDS else quick(run))()
                if time.monotonic() >= until:
                    break
                sys.stderr.write(f"{function.__name__}: seed {number}, {counted} examples so far\n")

        test.__name__, test.__doc__, test.__module__ = function.__name__, function.__doc__, function.__module__
        return test

    return wrap


def door(call: Callable[[], Any], *, also: tuple[type[Exception], ...] = ()) -> Any:
    """What comes out: a value, or None where it was refused in words. Anything else, or a hang, fails the test."""
    began = time.monotonic()
    try:
        return call()
    except RunbookError as error:
        assert error.what.strip()
        str(error).encode()  # it can be written to a file and a terminal
        assert len(error.what) < 20_000
        return None
    except also:
        return None
    finally:
        assert time.monotonic() - began < SLOWEST_SECONDS

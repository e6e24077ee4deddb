"""A client identity reaches OpenSSL through memory alone; where that cannot be, it is said in words."""

from __future__ import annotations

import resource
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runbook_lib.catalogue import Reason
from runbook_lib.digicert.tls import make_context
from runbook_lib.errors import RunbookError
from runbook_lib.identity import Identity
from tests.credentials import pki


@pytest.fixture(scope="module")
def identity() -> Identity:
    return pki.identity()


@contextmanager
def limited(which: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(which)
    resource.setrlimit(which, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


def test_an_identity_that_memory_does_not_take_is_reported_in_words(identity: Identity) -> None:
    with limited(resource.RLIMIT_FSIZE, 100), pytest.raises(RunbookError) as refused:
        make_context(None, identity)
    assert refused.value.reason is Reason.DISK_FULL
    assert "File too large" in refused.value.what


def test_no_file_left_open_or_to_be_had_is_reported_in_words(identity: Identity) -> None:
    assert isinstance(make_context(None, identity), ssl.SSLContext)
    with limited(resource.RLIMIT_NOFILE, 0), pytest.raises(RunbookError):
        make_context(None, identity)

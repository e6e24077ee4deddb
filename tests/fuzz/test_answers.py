"""What a server answers: JSON of any shape, and errors of any status."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from runbook_lib.clock import iso
from runbook_lib.digicert.failures import answer_problem
from runbook_lib.digicert.models import ClientAuthCertificate, User, read_errors
from runbook_lib.lifecycle.request import ends_of
from tests.fuzz.doors import door, fuzz, mutated, text, values

USER = {
    "id": "1",
    "status": "ACTIVE",
    "end_date": "2030-01-01T00:00:00Z",
    "accounts": [{"id": "a", "service_period": {"from": "2026-01-01", "to": "2030-01-01"}}],
}
CERTIFICATE = {"name": "a", "end_date": "2030-01-01T00:00:00Z", "enabled": True, "serial_number": "0a:1", "id": "x"}


KINDS: list[tuple[type[BaseModel], dict[str, Any]]] = [(User, USER), (ClientAuthCertificate, CERTIFICATE)]


@fuzz(st.sampled_from(KINDS), st.data(), examples=150)
def test_an_answer_is_read_or_is_none(kind: tuple[type[BaseModel], dict[str, Any]], data: st.DataObject) -> None:
    model, sample = kind
    answer = sample | data.draw(st.dictionaries(st.sampled_from(sorted(model.model_fields)), values, max_size=3))
    read = door(lambda: model.model_validate(answer), also=(ValidationError,))
    if isinstance(read, User):
        for moment in door(lambda: ends_of(read)).values():
            assert iso(moment)
    if isinstance(read, ClientAuthCertificate):
        assert read.serial is None or read.serial >= 0
        read.model_dump_json()


@fuzz(st.sampled_from([USER, CERTIFICATE]).flatmap(lambda one: mutated(json.dumps(one).encode())))
def test_so_is_one_whose_bytes_are_damaged(content: bytes) -> None:
    for model in (User, ClientAuthCertificate):
        door(partial(model.model_validate_json, content), also=(ValidationError,))


@fuzz(
    st.integers(100, 999),
    values | st.fixed_dictionaries({"errors": values}) | st.fixed_dictionaries({"error": values}),
    text,
)
def test_an_error_of_any_shape_has_a_reason(status: int, body: Any, said: str) -> None:
    read_errors(body)
    problem = answer_problem(status, body, said, "https://localhost", None, None)
    assert "\n" not in problem.what
    assert len(problem.what) < 1000

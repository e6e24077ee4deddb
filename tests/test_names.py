"""One name means one thing."""

from __future__ import annotations

from pathlib import Path

from tests.names import double


def test_no_public_name_stands_for_two_things() -> None:
    assert double() == {}


def test_a_name_that_stands_for_two_things_is_seen(tmp_path: Path) -> None:
    for room, text in (("a", "class Entry: ..."), ("b", "def Entry(): ...\ndef _own(): ..."), ("c", "def _own(): ...")):
        (tmp_path / room).mkdir()
        (tmp_path / room / "module.py").write_text(text)
    assert list(double(tmp_path)) == ["Entry", "module"]

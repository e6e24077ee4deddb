"""What a run leaves before it is archived: a batch produces many in other processes and seals them together."""

from __future__ import annotations

import pickle
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from runbook_lib.clock import SystemClock
from runbook_lib.reports.produce import Job, Produced, Source, produce
from runbook_lib.result import Status


def test_what_a_run_leaves_can_be_sent_to_another_process(write_notebook: Callable[..., Path], tmp_path: Path) -> None:
    source = Source.read(write_notebook("print('hello')"))
    job = pickle.loads(pickle.dumps(Job(source, "demo", {"p": 2})))  # noqa: S301 - our own
    produced = produce(job, folder=tmp_path, clock=SystemClock())
    again: Produced = pickle.loads(pickle.dumps(produced))  # noqa: S301 - our own
    assert again == produced
    assert produced.record.status is Status.DONE
    assert produced.record.run == job.run
    assert b"hello" in produced.files["run.ipynb"]
    assert set(produced.files) == {"run.ipynb", "report.html", "run.json"}


def test_what_must_be_kept_out_is_searched_for_though_no_parameter_names_it(
    write_notebook: Callable[..., Path], tmp_path: Path
) -> None:
    passphrase = secrets.token_urlsafe(24)
    copy = tmp_path / "copy"
    copy.write_text(passphrase)  # a notebook without the variable can still find its value
    source = Source.read(write_notebook(f"print(open({str(copy)!r}).read())"))
    job = Job(source, "demo", {}, environ={"SIGNER": passphrase}, keep_out=("env:SIGNER",))
    assert passphrase not in repr(job)
    produced = produce(job, folder=tmp_path, clock=SystemClock())
    assert produced.record.status is Status.WITHHELD
    assert [one.what for one in produced.record.scan.found][:1] == ["env:SIGNER"]
    assert not any(passphrase.encode() in content for content in produced.files.values())
    copy.write_text(passphrase[:-1])
    again = produce(replace(job, run="another"), folder=tmp_path, clock=SystemClock())
    assert again.record.status is Status.DONE

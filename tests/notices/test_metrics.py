"""The metrics file is what node-exporter takes, stays small, and says what a run found."""

from __future__ import annotations

import subprocess
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from runbook_lib.notices.metrics import MOST, file_name
from tests.notices import runs
from tests.notices.conftest import Desk
from tests.notices.runs import DAY, NOW, row

DEPLOY = Path(__file__).parents[2] / "deploy" / "prometheus"


def read(desk: Desk) -> dict[str, list[tuple[dict[str, str], float]]]:
    assert desk.notices.metrics is not None
    text = (desk.notices.metrics / file_name(desk.archive)).read_text()
    check = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")
    return {
        sample.name: [(entry.labels, entry.value) for entry in family.samples if entry.name == sample.name]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_moments_states_and_runs(desk: Desk, tmp_path: Path):
    desk.set(metrics=str(tmp_path / "prom"))
    end, start = NOW + 50 * DAY, NOW - 300 * DAY
    desk.run(row("CI", "due", ends=end, starts=start), row("Off", "disabled", enabled="no", store="no"))
    desk.run(job="rotate", parameters={"name": "CI"}, error=runs.fault(), at=NOW + DAY)
    found = read(desk)
    ((labels, value),) = found["x509_cert_not_after"]  # none for the disabled one
    assert (labels["name"], labels["environment"], labels["in_use"]) == ("CI", "production", "yes")
    assert value == end.timestamp()
    assert found["x509_cert_not_before"][0][1] == start.timestamp()
    assert found["x509_cert_expired"][0][1] == 0
    assert found["x509_source_up"][0][1] == 1
    assert {labels["state"]: value for labels, value in found["runbook_certificates"]} == {"due": 1, "disabled": 1}
    runs_of = {(labels["runbook"], labels["status"]): value for labels, value in found["runbook_runs_total"]}
    assert runs_of == {("inventory", "done"): 1, ("rotate", "failed"): 1}
    success = {labels["runbook"]: value for labels, value in found["runbook_last_success_timestamp_seconds"]}
    assert success == {"inventory": NOW.timestamp(), "rotate": 0}
    last = {labels["runbook"]: value for labels, value in found["runbook_last_run_timestamp_seconds"]}
    assert last["rotate"] == (NOW + DAY).timestamp()
    assert found["runbook_archive_head_sequence"][0][1] == 2


def test_an_outage_is_a_source_that_is_down_and_leaves_the_dates(desk: Desk, tmp_path: Path):
    desk.set(metrics=str(tmp_path / "prom"))
    desk.run(row("CI"))
    desk.run(row("(DigiCert ONE)", "unchecked"), error=runs.outage())
    found = read(desk)
    assert found["x509_source_up"][0][1] == 0
    assert "CI" in [labels["name"] for labels, _ in found["x509_cert_not_after"]]


def test_hostile_names_are_labels_of_bounded_size(desk: Desk, tmp_path: Path):
    desk.set(metrics=str(tmp_path / "prom"))
    names = ('a"} 1\nx509_cert_not_after{name="b', "b" * 10_000, "b" * 10_001, "\\", "\u202e")
    desk.run(*(row(name, store="no", number=str(number)) for number, name in enumerate(names)))
    found = [labels["name"] for labels, _ in read(desk)["x509_cert_not_after"]]
    assert len(found) == 4  # two are the same once they are cut short
    assert max(map(len, found)) <= 120


def test_the_file_stays_small_however_many_certificates_there_are(desk: Desk, tmp_path: Path):
    desk.set(metrics=str(tmp_path / "prom"))
    desk.run(*(row(f"c{number}", ends=NOW + (100 + number) * DAY, store="no") for number in range(3 * MOST)))
    found = read(desk)
    assert len(found["x509_cert_not_after"]) == MOST
    assert found["runbook_certificates_not_shown"][0][1] == 2 * MOST
    assert found["runbook_certificates"][0][1] == 3 * MOST
    assert found["x509_cert_not_after"][0][0]["name"] == "c0"


def test_the_recipes_are_valid():
    for command in (
        ["promtool", "check", "rules", "rules.yaml"],
        ["promtool", "test", "rules", "rules.test.yaml"],
        ["promtool", "check", "config", "prometheus.yaml"],
        ["amtool", "check-config", "alertmanager.yaml"],
    ):
        subprocess.run(command, cwd=DEPLOY, check=True, capture_output=True)


def test_a_rule_that_says_another_limit_would_be_noticed(tmp_path: Path):
    for name in ("rules.yaml", "rules.test.yaml"):
        (tmp_path / name).write_text((DEPLOY / name).read_text().replace("60 * 86400", "59 * 86400"))
    done = subprocess.run(
        ["promtool", "test", "rules", "rules.test.yaml"], cwd=tmp_path, check=False, capture_output=True
    )
    assert done.returncode != 0

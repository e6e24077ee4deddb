"""The Grafana dashboard fits the types that Grafana publishes, and asks only for metrics that we write.

Grafana itself is in no registry that this machine reaches. `@grafana/schema` is made by Grafana from the schema of its
dashboards; TypeScript checks the JSON against it, unknown fields included.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

DASHBOARD = Path(__file__).parents[2] / "deploy" / "prometheus" / "dashboard.json"
PACKAGES = ("@grafana/schema@13.2.3", "typescript@5.9.3")

HEAD = """
import type { Dashboard } from '@grafana/schema';
// JSON has the values of enumerations, not their names
type Plain<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
export const dashboard: Plain<Dashboard> = """

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grafana")
    (folder / "package.json").write_text("{}")
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", *PACKAGES]
    subprocess.run(command, cwd=folder, check=True, timeout=240)
    return folder


def complaints(grafana: Path, dashboard: str) -> str:
    (grafana / "dashboard.ts").write_text(HEAD + dashboard)
    options = ["--noEmit", "--strict", "--skipLibCheck", "--moduleResolution", "bundler", "--module", "esnext"]
    command = [str(grafana / "node_modules" / ".bin" / "tsc"), *options, "dashboard.ts"]
    return subprocess.run(command, cwd=grafana, capture_output=True, text=True, check=False, timeout=120).stdout


def test_grafana_s_published_types_take_the_dashboard(grafana: Path):
    text = DASHBOARD.read_text()
    assert complaints(grafana, text) == ""
    for old, new in (
        ('"schemaVersion"', '"schemaVersions"'),
        ('"absolute"', '"relative"'),
        ('"editable": true', '"editable": 1'),
    ):
        assert complaints(grafana, text.replace(old, new, 1)), new


def test_the_dashboard_asks_for_what_a_run_writes():
    from runbook_lib.notices import metrics

    asked = set(re.findall(r"\b(?:x509|runbook)_[a-z0-9_]+", json.dumps(json.loads(DASHBOARD.read_text())["panels"])))
    written = set(re.findall(r'"((?:x509|runbook)_[a-z0-9_]+)"', Path(metrics.__file__).read_text()))
    assert asked <= written | {"runbook_runs_total"}

"""Airflow 3: a runbook for every account of the fleet, every morning, in four parts.

Its tasks run on a worker that has the repository, the fleet file and the secrets' files; no secret passes through
Airflow. A task whose exit code needs a person fails for good. After any other failure Airflow tries the part again,
which runs only what is missing.
"""

from __future__ import annotations

import subprocess
from datetime import timedelta

import pendulum
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException

PARTS = 4
FOR_A_PERSON = {2: "wrong usage or parameters", 20: "certificates need action", 30: "some accounts failed"}
HOME = "/opt/digicert-one-runbooks"
FLEET = "/etc/digicert-one/fleet.yaml"
ARCHIVE = "/var/lib/digicert-one/archive"


@task(retries=2, retry_delay=timedelta(minutes=10), execution_timeout=timedelta(hours=8))
def part(number: int) -> None:
    batch = [".venv/bin/runbook", "batch", FLEET, "--archive", ARCHIVE]
    command = [*batch, "--shard", f"{number}/{PARTS}", "--fail-on", "due"]
    code = subprocess.run(command, cwd=HOME, check=False).returncode
    if code in FOR_A_PERSON:
        raise AirflowFailException(f"{FOR_A_PERSON[code]} (exit code {code}): see the batch's report")
    if code:
        raise AirflowException(f"exit code {code}: trying again runs only what is missing")


with DAG(
    "digicert_one_fleet",
    schedule="17 6 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
) as dag:
    part.expand(number=list(range(1, PARTS + 1)))

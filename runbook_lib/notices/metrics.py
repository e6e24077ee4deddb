"""Metrics for Prometheus: a file that node-exporter's textfile collector reads.

Names are those of enix's x509-certificate-exporter where it has them. Moments, not days: the rules do the arithmetic.
The file stays small whatever the number of certificates: each of the `MOST` that end next has series of its own, all
are counted by state, and `runbook_certificates_not_shown` says how many have none.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from runbook_lib import disk
from runbook_lib.archive import chain
from runbook_lib.catalogue import Reason
from runbook_lib.clock import parse_utc
from runbook_lib.errors import RunbookError
from runbook_lib.notices.notice_state import NoticesState
from runbook_lib.notices.state_changes import OK
from runbook_lib.result import Status
from runbook_lib.visible import visible

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector

MOST = 500
"""Certificates with series of their own; and jobs, environments and states, of which there are never so many."""

_LONGEST = 120
"""Characters of a label's value."""


def file_name(archive: Path) -> str:
    """The file of an archive: several archives of a machine share the collector's folder."""
    return f"digicert_one_{hashlib.sha256(str(archive.absolute()).encode()).hexdigest()[:8]}.prom"


def write_metrics(state: NoticesState, archive: Path, folder: Path, now: datetime) -> None:
    """Write the metrics of an archive, atomically.

    Args:
        folder: of the textfile collector.
        now: decides which expired certificates still count.

    Raises:
        RunbookError: BAD_PARAMETER if prometheus_client is missing. OSError.
    """
    try:
        from prometheus_client import CollectorRegistry, generate_latest
    except ImportError:
        raise RunbookError(
            Reason.BAD_PARAMETER,
            "Metrics need the package prometheus_client, which is not installed.",
            remedy="Run pip install 'digicert-one-runbooks[notices]'.",
            title="A package is missing",
        ) from None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_collector(list(_families(state, archive, now))))
    disk.replace(folder / file_name(archive), generate_latest(registry), mode=0o644)


def _collector(families: Iterable[GaugeMetricFamily | CounterMetricFamily]) -> Collector:
    from prometheus_client.registry import Collector

    class Families(Collector):
        def collect(self) -> Iterable[GaugeMetricFamily | CounterMetricFamily]:
            return families

    return Families()


def _families(state: NoticesState, archive: Path, now: datetime) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    def gauge(
        name: str, text: str, labels: Iterable[str], values: Iterable[tuple[Iterable[str], float]]
    ) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, text, labels=["archive", *labels])
        for cells, value in values:
            family.add_metric([here, *map(_label, cells)], value)
        return family

    here = _label(str(archive.absolute()))

    rows, left = state.nearest(now, MOST)
    labels = ("environment", "name", "serial_number", "filepath", "in_use")
    cells = [
        (row.environment, row.name, row.serial, row.place, "yes" if row.in_use else "no") for row in rows
    ]  # `place` keeps two files of one certificate apart
    known = list(dict(zip(map(_labels, cells), rows, strict=True)).items())  # a label cut short may occur twice
    yield gauge(
        "x509_cert_not_after", "End of the certificate, or of its service user if that is earlier.", labels,
        ((label, parse_utc(row.end).timestamp()) for label, row in known),
    )  # fmt: skip
    yield gauge(
        "x509_cert_not_before", "Start of the certificate.", labels,
        ((label, parse_utc(row.start).timestamp()) for label, row in known if row.start),
    )  # fmt: skip
    yield gauge(
        "x509_cert_expired", "Whether it had expired when it was last read.", labels,
        ((label, row.state == "expired") for label, row in known),
    )  # fmt: skip
    sources = ([(name,), float(up == OK)] for name, up in sorted(state.sources().items())[:MOST])
    yield gauge("x509_source_up", "Whether DigiCert ONE answered the last run.", ("environment",), sources)  # type: ignore[arg-type]
    counts = (((environment, health), number) for environment, health, number in state.counts()[:MOST])
    yield gauge("runbook_certificates", "Certificates of the inventories, by state.", ("environment", "state"), counts)
    yield gauge("runbook_certificates_not_shown", "Certificates that end later and have no series.", (), [((), left)])
    runs = state.runs()[:MOST]
    total = CounterMetricFamily(
        "runbook_runs", "Archived runs, by how they ended.", labels=["archive", "runbook", "environment", "status"]
    )
    last: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    success: dict[tuple[str, str], float] = {}
    for job, environment, status, number, moment in runs:
        total.add_metric([here, _label(job), _label(environment), _label(status)], number)
        last[job, environment].append(moment)
        if status == Status.DONE:
            success[job, environment] = moment
    yield total
    job_labels = ("runbook", "environment")
    yield gauge(
        "runbook_last_run_timestamp_seconds", "When the last run ended.", job_labels,
        ((names, max(moments)) for names, moments in last.items()),
    )  # fmt: skip
    yield gauge(
        "runbook_last_success_timestamp_seconds", "When the last run that is done ended; 0: never.", job_labels,
        ((names, success.get(names, 0.0)) for names in last),
    )  # fmt: skip
    head, _ = chain.read_pointer(archive)
    if head is not None:
        yield gauge("runbook_archive_head_sequence", "Bags in the archive's chain.", (), [((), head.sequence)])
    yield gauge("runbook_notices_waiting", "Messages that could not be sent yet.", (), [((), state.unsent())])


def _labels(cells: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(_label, cells))


def _label(text: str) -> str:
    text = visible(text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"

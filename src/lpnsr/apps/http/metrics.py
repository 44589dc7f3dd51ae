"""The queue's counters as Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpnsr.apps.jobs import Engine

_ENDS = ("submitted", "done", "failed", "cancelled", "rejected", "expired")


class Metrics(CollectorRegistry):
    """Metrics of an engine and its HTTP interface; ``responses`` counts answers by status."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.register(_Queue(engine))
        ProcessCollector(registry=self)
        self.responses = Counter("lpnsr_http_responses", "Answers, by status.", ["status"], registry=self)


class _Queue(Collector):
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[Metric]:
        counts = self._engine.counts()
        jobs = CounterMetricFamily("lpnsr_jobs", "Jobs that were taken, refused, or ended so.", labels=["event"])
        for event in _ENDS:
            jobs.add_metric([event], counts[event])
        yield jobs
        yield CounterMetricFamily("lpnsr_busy_seconds", "Time of devices.", value=counts["busy_milliseconds"] / 1000)
        yield CounterMetricFamily("lpnsr_input_pixels", "Pixels of the inputs that were done.", value=counts["pixels"])
        yield GaugeMetricFamily("lpnsr_queue_jobs", "Jobs that wait.", value=counts["queued"])
        yield GaugeMetricFamily("lpnsr_running_jobs", "Jobs at work.", value=counts["running"])
        yield GaugeMetricFamily("lpnsr_stored_bytes", "Results that are kept.", value=counts["stored_bytes"])
        yield GaugeMetricFamily("lpnsr_ready", "1 if jobs are taken.", value=float(self._engine.ready))

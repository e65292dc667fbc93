"""Metrics for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

#: Upper ends of the buckets of latencies in seconds: from one row of a small model to a thousand of a large one.
SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)
ROWS = tuple(2**i for i in range(11))


class Metrics:
    """The metrics of one application, in a registry of their own.

    Attributes:
      registry: the registry, with metrics of the process too.
      requests: requests for predictions, by the status code of their answers.
      seconds: time from the request line to the answer.
      rows: rows of the answers.
      batch_rows: rows that an endpoint ran at once.
      waiting: requests that wait for an endpoint.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter("iwae_tf_requests", "Requests for predictions by status", ["code"], registry=registry)
        self.seconds = Histogram("iwae_tf_request_seconds", "Time of a request", buckets=SECONDS, registry=registry)
        self.rows = Counter("iwae_tf_rows", "Rows of the answers", registry=registry)
        self.batch_rows = Histogram("iwae_tf_batch_rows", "Rows run at once", buckets=ROWS, registry=registry)
        self.waiting = Gauge("iwae_tf_waiting_requests", "Requests that wait for an endpoint", registry=registry)

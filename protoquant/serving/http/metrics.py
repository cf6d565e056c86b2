"""The metrics of the service, in the form that Prometheus reads."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from protoquant.serving.versions import Served

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_IMAGES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one service, in a registry of its own, so that two services in a process do not collide."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("protoquant_requests", "Requests.", ["path", "status"], registry=registry)
        self._errors = Counter("protoquant_errors", "Errors of requests and images.", ["kind"], registry=registry)
        self._images = Counter("protoquant_images", "Images in requests.", registry=registry)
        self._abstained = Counter("protoquant_abstentions", "Answers that abstain.", registry=registry)
        self._reloads = Counter("protoquant_reloads", "Moves to another version.", ["outcome"], registry=registry)
        self._seconds = Histogram(
            "protoquant_request_seconds", "Arrival to answer.", ["path"], buckets=_SECONDS, registry=registry
        )
        self._batch = Histogram("protoquant_batch_images", "Images of a pass.", buckets=_IMAGES, registry=registry)
        self._waiting = Gauge("protoquant_queue_images", "Images waiting or computed.", registry=registry)
        self._at_work = Gauge("protoquant_requests_in_flight", "Requests admitted.", registry=registry)
        self._model = Gauge("protoquant_model_info", "1.", ["name", "version", "bundle"], registry=registry)

    def watch(self, waiting: Callable[[], int], at_work: Callable[[], int]) -> None:
        """Read two gauges from these functions whenever Prometheus asks for them."""
        self._waiting.set_function(waiting)
        self._at_work.set_function(at_work)

    def record(self, path: str, status: int, seconds: float) -> None:
        """Count a request that has ended.

        Args:
            path: A known path, or ``other``.
            status: HTTP status of the answer.
            seconds: Time from arrival to the end.
        """
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def content(self, images: int, abstained: int, kinds: Mapping[str, int]) -> None:
        """Count the content of a request.

        Args:
            images: Number of images.
            abstained: Number of answers that abstain.
            kinds: Number of errors by kind.
        """
        self._images.inc(images)
        self._abstained.inc(abstained)
        for kind, count in kinds.items():
            self._errors.labels(kind).inc(count)

    def batch(self, images: int) -> None:
        """Count a forward pass."""
        self._batch.observe(images)

    def model(self, served: Served) -> None:
        """Name only the model in use."""
        self._model.clear()
        self._model.labels(served.name, served.version, served.bundle).set(1)

    def reload(self, outcome: str) -> None:
        """Count a change to another version, by its outcome: ``done`` or ``failed``."""
        self._reloads.labels(outcome).inc()

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self._registry)

"""The metrics of the server, in the format of Prometheus.

The metrics are in a registry of their own, so that several servers in one process, as in tests, share none.
All names begin with `tinyunet_`. The dashboard and the alert rules in `k8s/components/prometheus` use them.
"""

from collections.abc import Mapping
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

Stage = Literal["decode", "queue", "infer", "encode"]
STAGES: tuple[Stage, ...] = ("decode", "queue", "infer", "encode")
CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
LOGITS = (-20, -15, -10, -8, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20)
REASONS = ("uncertain", "drifted")
"""Why `--keep` keeps an image."""


class Metrics:
    """The metrics of one server; all methods are thread-safe and take microseconds."""

    def __init__(self) -> None:
        """Begin with all counters at 0."""
        self.registry = CollectorRegistry()
        self._make_requests()
        self._make_images()
        self._make_models()
        self._make_watch()

    def _make_requests(self) -> None:
        registry = self.registry
        self._requests = Counter(
            "tinyunet_requests", "Answered requests.", ("route", "status"), registry=registry
        )
        self._request_seconds = Histogram(
            "tinyunet_request_seconds",
            "Time from the first byte of a request to the last byte of its answer.",
            ("route",),
            buckets=SECONDS,
            registry=registry,
        )
        self._stage_seconds = Histogram(
            "tinyunet_stage_seconds", "Time of a stage.", ("stage",), buckets=SECONDS, registry=registry
        )
        for stage in STAGES:
            self._stage_seconds.labels(stage)
        self._queue = Gauge("tinyunet_queue_images", "Images that wait for the network.", registry=registry)
        self._batch = Histogram(
            "tinyunet_batch_images", "Images in a batch.", buckets=BATCHES, registry=registry
        )

    def _make_images(self) -> None:
        self._verdicts = Counter(
            "tinyunet_verdicts", "Inspected images by verdict.", ("verdict",), registry=self.registry
        )
        for verdict in ("clean", "defective"):
            self._verdicts.labels(verdict)
        self._scores = Histogram(
            "tinyunet_image_score", "Scores of images (logits).", buckets=LOGITS, registry=self.registry
        )

    def _make_models(self) -> None:
        registry = self.registry
        self._model = Gauge(
            "tinyunet_model_info",
            "The model that answers: 1.",
            ("name", "version", "precision"),
            registry=registry,
        )
        self._threshold = Gauge(
            "tinyunet_image_threshold", "Score above which an image is defective (logit).", registry=registry
        )
        self._reloads = Counter(
            "tinyunet_reloads", "Changes of the model without a restart.", registry=registry
        )
        self._refused = Counter(
            "tinyunet_refused_versions",
            "Versions that failed their check and were not taken.",
            registry=registry,
        )
        self._lost = Counter(
            "tinyunet_follow_failures",
            "Looks at the alias, or at the files of its version, that failed; the next one tries again.",
            registry=registry,
        )

    def _make_watch(self) -> None:
        registry = self.registry
        self._drift = Gauge(
            "tinyunet_drift_score",
            "Distance of the last images from the validation images by cause; 1 is the threshold.",
            ("cause",),
            registry=registry,
        )
        self._window = Gauge(
            "tinyunet_drift_window_images", "Images in the window of drift.", registry=registry
        )
        self._kept = Gauge(
            "tinyunet_kept_images", "Images in the review folder.", ("reason",), registry=registry
        )
        for reason in REASONS:
            self._kept.labels(reason).set(0)
        self._keep_failures = Counter(
            "tinyunet_keep_failures", "Images that the review folder could not take.", registry=registry
        )
        self._unwatched = Counter(
            "tinyunet_unwatched_images",
            "Images that were answered, but not watched, because watching was too slow.",
            registry=registry,
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            route: The route's pattern, such as `/inspect`, never the path of a request: it may hold names.
            status: Status of the answer.
            seconds: Time of the whole request.
        """
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def stage(self, stage: Stage, seconds: float) -> None:
        """Record the time of a stage of a request: decode, queue, infer (a whole batch) or encode."""
        self._stage_seconds.labels(stage).observe(seconds)

    def queue_length(self, images: int) -> None:
        """Set the number of images that wait for the network."""
        self._queue.set(images)

    def batch(self, images: int) -> None:
        """Record the number of images of a batch."""
        self._batch.observe(images)

    def verdict(self, *, defective: bool, score: float) -> None:
        """Count an inspected image.

        Args:
            defective: The verdict.
            score: Image-level score, a logit.
        """
        self._verdicts.labels("defective" if defective else "clean").inc()
        self._scores.observe(score)

    def model(self, name: str, version: str, precision: str, image_threshold: float) -> None:
        """Set the model that answers; the one before it is no longer reported."""
        self._model.clear()
        self._model.labels(name, version, precision).set(1)
        self._threshold.set(image_threshold)

    def reloaded(self) -> None:
        """Count a change of the model without a restart."""
        self._reloads.inc()

    def refused(self) -> None:
        """Count a version that failed its check, so that the old one stays."""
        self._refused.inc()

    def follow_failed(self) -> None:
        """Count a look at the alias, or at the files of its version, that failed."""
        self._lost.inc()

    def drift(self, scores: Mapping[str, float], images: int) -> None:
        """Set the drift score of every cause, and the number of images in the window.

        Args:
            scores: By cause; above 1 is drift. Empty without a reference.
            images: Images in the window.
        """
        if not scores:
            self._drift.clear()
        for cause, score in scores.items():
            self._drift.labels(cause).set(score)
        self._window.set(images)

    def kept(self, reason: str, images: int) -> None:
        """Set the number of images that the review folder holds for a reason (see REASONS)."""
        self._kept.labels(reason).set(images)

    def keep_failed(self) -> None:
        """Count an image that the review folder could not take."""
        self._keep_failures.inc()

    def unwatched(self) -> None:
        """Count an image that was answered, but not watched."""
        self._unwatched.inc()

    def text(self) -> bytes:
        """Return all metrics as the body of `/metrics`; its content type is CONTENT_TYPE."""
        return generate_latest(self.registry)

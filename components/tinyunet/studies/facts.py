"""The facts about the origin of a version, and their check.

A hash is verified if the file that it belongs to is in MLflow: it is computed again. Every other value is
compared with all places that record it.
"""

import hashlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.documents.trace import Status, TracedFact
from tinyunet.core.errors import UserError
from tinyunet.core.files import file_sha256
from tinyunet.data.ingest import content_digest
from tinyunet.data.raw import SOURCES
from tinyunet.engine.network import FILE as NETWORK
from tinyunet.engine.network import INT8_FILES, sha256
from tinyunet.evaluation.evaluate import RECORDS
from tinyunet.registry.evidence import Evidence
from tinyunet.registry.versions import MODEL_KEY, REASON, model_key
from tinyunet.tracking.launched import IMAGE_DIGEST, IN_IMAGE
from tinyunet.training.provenance import REPOSITORY


def facts(evidence: Evidence) -> list[TracedFact]:
    """Return all facts about a version, from the version to the images; a damaged file is a wrong fact."""
    found = [fact for step in _STEPS for fact in step(evidence)]
    return found + [_fact("files", name, name, wrong=why) for name, why in evidence.damaged.items()]


def _fact(
    step: str,
    name: str,
    value: str,
    *,
    computed: str = "",
    how: str = "",
    also: Mapping[str, str | None] | None = None,
    wrong: str = "",
) -> TracedFact:
    """Return a fact with its status.

    Args:
        step: Part of the way.
        name: What the value is.
        value: The value; empty if it is not recorded.
        computed: The value that was computed again; empty if it cannot be computed.
        how: What it was computed from.
        also: The value by other places that record it; None or empty where they do not.
        wrong: Why the fact is wrong, if that is known already.
    """
    others = {place: other for place, other in (also or {}).items() if other}
    differing = [f"{place} says {other}" for place, other in others.items() if value and other != value]
    if value and computed and computed != value:
        differing.insert(0, f"{how} gives {computed}")
    if wrong or differing:
        return TracedFact(
            step=step, name=name, value=value, status="wrong", note=wrong or "; ".join(differing)
        )
    if not value:
        return TracedFact(step=step, name=name, value="", status="missing")
    notes = [f"computed from {how}"] if computed else []
    notes += [f"the same in {', '.join(others)}"] if others else []
    status: Status = "verified" if computed else "recorded"
    return TracedFact(step=step, name=name, value=value, status=status, note="; ".join(notes))


def _version(e: Evidence) -> Iterator[TracedFact]:
    yield _fact("version", "version", f"{e.name}/{e.version}")
    yield _fact("version", "aliases", ", ".join(e.aliases))
    yield _fact("version", "decision", e.tags.get(REASON, ""))


def _run(e: Evidence) -> Iterator[TracedFact]:
    model = e.model
    yield _fact("run", "run", e.run_id)
    yield _fact("run", "status", e.run_status)
    training = model.mlflow.run_id if model and model.mlflow else ""
    yield _fact("run", "run of the training", training)


def _code(e: Evidence) -> Iterator[TracedFact]:
    model, tags = e.model, e.run_tags
    revision, lock = (model.git_revision, model.lock_digest) if model else ("", "")
    same = {"the version": e.tags.get("git_revision"), "the run": tags.get("git_revision")}
    yield _fact("code", "git revision", revision, also=same)
    yield _fact(
        "code",
        "lock digest",
        lock,
        computed=_lock_digest(revision),
        how="requirements.lock of this revision",
        also={"the run": tags.get("lock_digest")},
    )
    without = "not run in an image of this project" if tags.get(IN_IMAGE) == "False" else ""
    yield _fact("code", "image digest", tags.get(IMAGE_DIGEST) or without)


def _lock_digest(revision: str) -> str:
    """Return the digest of requirements.lock at a revision; empty if this machine does not have it."""
    command = ["git", "-C", str(REPOSITORY), "show", f"{revision}:requirements.lock"]
    if not revision or revision == "unknown" or revision.endswith("-dirty"):
        return ""
    try:
        shown = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:  # git is not installed
        return ""
    return hashlib.sha256(shown.stdout).hexdigest()[:12] if shown.returncode == 0 else ""


def _model(e: Evidence) -> Iterator[TracedFact]:
    model, evaluation, file = e.model, e.evaluation, e.file("model.keras")
    sha256 = evaluation.model.sha256 if evaluation else ""
    yield _fact(
        "model",
        "SHA-256 of model.keras",
        sha256,
        computed=file_sha256(file) if file else "",
        how="the file of the run",
    )
    yield _fact(
        "model",
        "digest of the weights",
        model.weights_digest if model else "",
        computed=_weights_digest(file),
        how="model.keras",
        also={
            "the version": e.tags.get("weights_digest"),
            "the run": e.run_tags.get("weights_digest"),
            "engine.json": e.engine.weights_digest if e.engine else None,
        },
    )
    yield _fact(
        "model",
        "key of the evaluated model",
        e.tags.get(MODEL_KEY, ""),
        computed=model_key(sha256, evaluation) if evaluation else "",
        how="metrics.json",
    )


def _weights_digest(file: Path | None) -> str:
    """Return the digest of the weights in a Keras file; a text that says so if it cannot be read."""
    from tinyunet.training.keras_file import load_model, weights_digest

    try:
        return weights_digest(load_model(file)) if file else ""
    except UserError:
        return "no readable model"


def _records(e: Evidence) -> Iterator[TracedFact]:
    model, evaluation, records = e.model, e.evaluation, e.records
    yield _fact(
        "records",
        "digest of the records",
        model.data.digest if model else "",
        computed=RecordsManifest.digest_of(records.splits) if records else "",
        how=f"the digests of all shards in {RECORDS}",
        also={
            RECORDS: records.digest if records else None,
            "the run": e.run_tags.get("data_digest"),
            "metrics.json": evaluation.data.digest if evaluation else None,
        },
    )
    splits = records.splits if records else {}
    yield _fact(
        "records",
        "digest of the test split",
        evaluation.data.test_digest if evaluation else "",
        also={
            "the version": e.tags.get("test_digest"),
            "model.json": model.data.test_digest if model else None,
            RECORDS: splits["test"].digest if "test" in splits else None,
        },
    )


def _images(e: Evidence) -> Iterator[TracedFact]:
    model, sources, records = e.model, e.sources, e.records
    yield _fact("images", "source", model.data.source if model else "")
    yield _fact(
        "images",
        "digest of the images",
        (model.data.source_digest or "") if model else "",
        computed=content_digest(sources.files) if sources else "",
        how=f"the SHA-256 of all images and masks in {SOURCES}",
        also={
            RECORDS: records.source_digest if records else None,
            "metrics.json": e.evaluation.data.source_digest if e.evaluation else None,
        },
    )
    yield _fact("images", "number of images", str(len(sources.files)) if sources else "")


def _evaluation(e: Evidence) -> Iterator[TracedFact]:
    evaluation = e.evaluation
    values = {
        "threshold": evaluation.threshold if evaluation else None,
        "image_threshold": evaluation.test.image_threshold if evaluation else None,
        "dice_defective": evaluation.test.dice_defective if evaluation else None,
        "image_ap": evaluation.test.image_ap if evaluation else None,
    }
    for name, value in values.items():
        text = "" if value is None else str(value)
        yield _fact("evaluation", name, text, also={"the version": e.tags.get(name)})


def _engine(e: Evidence) -> Iterator[TracedFact]:
    engine, evaluation, network = e.engine, e.evaluation, e.file(NETWORK)
    yield _fact(
        "engine",
        f"SHA-256 of {NETWORK}",
        engine.network_sha256 if engine else "",
        computed=file_sha256(network) if network else "",
        how="the file of the logged model",
    )
    if engine and engine.int8:
        files = [file for name in INT8_FILES if (file := e.file(name))]
        complete = len(files) == len(INT8_FILES)
        yield _fact(
            "engine",
            "SHA-256 of the int8 network",
            engine.int8.sha256,
            computed=sha256(files) if complete else "",
            how="the files of the logged model",
        )
    threshold = str(evaluation.threshold) if evaluation else None
    also = {"metrics.json": threshold}
    yield _fact("engine", "threshold", str(engine.threshold) if engine else "", also=also)


_STEPS: tuple[Callable[[Evidence], Iterator[TracedFact]], ...] = (
    _version, _run, _code, _model, _records, _images, _evaluation, _engine,
)  # fmt: skip

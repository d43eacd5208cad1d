"""Registration of an evaluated model as a version in MLflow's registry."""

from dataclasses import dataclass
from pathlib import Path

from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.errors import UserError, require
from tinyunet.evaluation.evaluate import check_class, read_evaluated_model
from tinyunet.registry.logged_model import find_or_log_model, log_engine
from tinyunet.registry.registration_lock import registration_lock
from tinyunet.registry.run import EVALUATION_FILES, find_or_create_run, log_files, log_scores
from tinyunet.registry.versions import (
    create_registered_model,
    create_version,
    find_logged_model,
    find_version,
    model_key,
    update_champion,
    version_tags,
)
from tinyunet.tracking.client import mlflow_errors, open_client
from tinyunet.tracking.download import MODEL_FILES, WEIGHTS_DIGEST, training_artifact_path
from tinyunet.tracking.names import check_model_name


@dataclass(frozen=True)
class Registration:
    """The result of `register`.

    Attributes:
        name: Registered model.
        version: Number of the version.
        champion: Whether the version is the champion now.
        reason: Why it is the champion, or why it is not, in one sentence.
        run_id: The MLflow run that the version belongs to.
        uri: Address of the version, models:/NAME/VERSION.
        evaluation: Folder of the run's artifacts that contains the report.
    """

    name: str
    version: str
    champion: bool
    reason: str
    run_id: str
    uri: str
    evaluation: str


def register(model: Path, evaluation: Path, *, name: str = "", records: Path | None = None) -> Registration:
    """Create a model version in the run of the training, and decide on the champion.

    The model folder, the scores, report, model card, curves and overlays are stored in the run. If the model
    is already registered with this evaluation, its version is returned.

    Args:
        model: Model folder.
        evaluation: Evaluation folder of that model.
        name: Registered model; the default is tinyunet-<data set>[-<category>], such as
            tinyunet-dagm-class1.
        records: TFRecords of the evaluation. With them, a new engine gets an int8 network, if that
            loses little on the validation images, see `registry.int8`.

    Raises:
        UserError: if the evaluation is of another model, the records are not those of the evaluation, the
            name is unusable, or MLflow cannot be reached.
    """
    check_model_name(name)
    document, result = read_evaluated_model(model), Evaluation.read(evaluation)
    if result.model.sha256 not in ("", document.sha256):
        raise UserError(f"{evaluation} evaluates another model than {model}; expected its own evaluation")
    digest = document.weights_digest
    if records is not None:
        manifest = RecordsManifest.read(records)
        check_class(model, document, records, manifest)
        if manifest.digest != result.data.digest:
            raise UserError(f"{records} are other records than those of {evaluation}; expected the same")
    require(bool(digest), WEIGHTS_DIGEST, digest, f"a digest in {model}: train it again")
    name = name or f"tinyunet-{document.full_name}"
    with mlflow_errors(short_timeout=True):
        client = open_client()
        run_id = find_or_create_run(client, model, document)
    with mlflow_errors():
        log_files(client, run_id, model, MODEL_FILES, training_artifact_path(digest))
        key = model_key(document.sha256, result)
        artifact_path = f"evaluation/{key}"
        log_files(client, run_id, evaluation, EVALUATION_FILES, artifact_path)
        log_scores(client, run_id, result, artifact_path)
        known = find_version(client, name, key)
        if known is None:
            model_id = find_or_log_model(client, run_id, key, model, document, result)
            create_registered_model(client, name, document.title)
        else:
            model_id = find_logged_model(client, name, known)
        if model_id:  # also of a version of an early release, which has no engine yet
            log_engine(client, model_id, model, evaluation, records)
        tags, card = version_tags(key, document, result), evaluation / "model_card.md"
        with registration_lock(client, name):
            version = find_version(client, name, key) or create_version(
                client, name, tags, run_id=run_id, model_id=model_id, card=card
            )
            # A version of an early release lacks this tag.
            client.set_model_version_tag(name, version, WEIGHTS_DIGEST, digest)
            champion, reason = update_champion(client, run_id, name, version)
    uri = f"models:/{name}/{version}"
    return Registration(name, version, champion, reason, run_id, uri, artifact_path)

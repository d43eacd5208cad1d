"""Create the versions of a registered model in MLflow, set their tags, and move the alias `champion`."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.core.documents.evaluation import EvaluatedModel, Evaluation
from tinyunet.core.documents.version import VersionTags
from tinyunet.registry.champion import VersionScores, decide
from tinyunet.tracking.client import MAX_TEXT, log_run_data
from tinyunet.tracking.names import tag_filter

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
DESCRIPTION = (
    "Finds and outlines surface defects on {data}. The alias `champion` "
    "marks the version to use. The description of each version is its model card. The tag "
    "`tinyunet.champion_reason` of each version states why it is the champion, or why it is not."
)
MODEL_KEY = "tinyunet.model_key"
SCORE_TAGS = ("test_digest", "dice_defective", "image_ap", "synthetic", "weights_digest")  # of the rule
REASON = "tinyunet.champion_reason"


def model_key(sha256: str, evaluation: Evaluation) -> str:
    """Return the key of an evaluated model: a hash of its weights, thresholds, Dice and test images.

    Args:
        sha256: Digest of model.keras.
        evaluation: Evaluation of the model.

    Returns:
        16 hex digits.
    """
    identity = [
        sha256,
        evaluation.threshold,
        evaluation.test.image_threshold,
        evaluation.test.dice_defective,
        evaluation.data.test_digest,
    ]
    return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]


def find_version(client: "MlflowClient", name: str, key: str) -> str | None:
    """Return the number of the version with this key, or None if there is none."""
    versions = client.search_model_versions(tag_filter(MODEL_KEY, key))
    return next((str(version.version) for version in versions if version.name == name), None)


def find_logged_model(client: "MlflowClient", name: str, version: str) -> str:
    """Return the id of the logged model of a version; empty if another program made it without one."""
    found = client.get_model_version(name, version)
    return str(found.model_id or "") or (
        source.removeprefix("models:/") if (source := str(found.source)).startswith("models:/m-") else ""
    )


def create_registered_model(client: "MlflowClient", name: str, data: str) -> None:
    """Create a registered model with a description that names its data; an existing one is not changed."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=DESCRIPTION.format(data=data))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def create_version(
    client: "MlflowClient", name: str, tags: VersionTags, *, run_id: str, model_id: str, card: Path
) -> str:
    """Create a version of a registered model.

    Args:
        client: Client of the registry.
        name: Name of the registered model.
        tags: Tags of the version.
        run_id: Id of the run that the version belongs to.
        model_id: Id of the logged model.
        card: File of the model card, which becomes the description of the version; may be absent.

    Returns:
        The number of the version.
    """
    version = client.create_model_version(
        name,
        f"models:/{model_id}",
        run_id=run_id,
        tags=tags.tags(),
        description=card.read_text(encoding="utf-8")[:MAX_TEXT] if card.is_file() else None,
        model_id=model_id,
    )
    return str(version.version)


def version_tags(key: str, model: EvaluatedModel, evaluation: Evaluation) -> VersionTags:
    """Return the tags of a version.

    Args:
        key: Key of the evaluated model; see `model_key`.
        model: The model that is registered.
        evaluation: Its evaluation.
    """
    return VersionTags(
        model_key=key,
        test_digest=evaluation.data.test_digest,
        dice_defective=evaluation.test.dice_defective,
        image_ap=evaluation.test.image_ap,
        threshold=evaluation.threshold,
        image_threshold=evaluation.test.image_threshold,
        git_revision=model.git_revision,
        preset=model.preset,
        synthetic=evaluation.data.synthetic,
        weights_digest=model.weights_digest,
    )


def update_champion(client: "MlflowClient", run_id: str, name: str, version: str) -> tuple[bool, str]:
    """Decide whether a version is the champion, move the alias if it is, and store the reason as a tag.

    The version and its run get the tag. If the version already was the champion, nothing is changed. Call
    this function inside `turn`: it reads the alias and writes it later, and another registration between
    them would be lost.

    Returns:
        Whether the version is the champion now, and the reason.
    """
    alias = client.get_registered_model(name).aliases.get(CHAMPION)
    current = None if alias is None else version_scores(client, name, str(alias))
    champion, reason = decide(version_scores(client, name, version), current)
    if current is None or current.version != version:
        if champion:
            client.set_registered_model_alias(name, CHAMPION, version)
        client.set_model_version_tag(name, version, REASON, reason)
        log_run_data(client, run_id, tags={"tinyunet.model_version": f"{name}/{version}", REASON: reason})
    return champion, reason


def version_scores(client: "MlflowClient", name: str, version: str) -> VersionScores:
    """Read the scores of a version from its tags.

    If another program created the version, its scores are 0 and its test images are unknown.
    """
    given = client.get_model_version(name, version).tags
    tags = VersionTags.read({key: given[key] for key in SCORE_TAGS if given.get(key)})
    return VersionScores(
        version=version,
        test_digest=tags.test_digest,
        dice=tags.dice_defective or 0.0,
        ap=tags.image_ap or 0.0,
        synthetic=tags.synthetic,
        weights=tags.weights_digest,
    )

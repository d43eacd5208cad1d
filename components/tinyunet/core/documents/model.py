"""The description of a trained model: model.json in the folder that `train` writes."""

from typing import Any, ClassVar

from pydantic import field_validator

from tinyunet.core.config import TrainConfig
from tinyunet.core.documents.base import DataIdentity, Document, JsonObject, Options
from tinyunet.core.presets import with_missing_options


class Normalization(JsonObject):
    """The model's input is grey · scale + offset."""

    scale: float
    offset: float


class ModelData(JsonObject):
    """The data that a model was trained on, as in the manifest of its records."""

    digest: str
    source: str
    source_digest: str | None = None
    complete: bool
    synthetic: bool
    train_digest: str = ""
    validation_digest: str = ""
    test_digest: str = ""


class MlflowReference(JsonObject):
    """The MLflow run of a training: address of the server without credentials, and id."""

    tracking_uri: str
    run_id: str


class TrainingFigures(JsonObject):
    """Final figures of a training.

    Attributes:
        images_per_s: Median throughput over the steps.
        seconds: Time of all steps.
        final_loss: Loss of the last step.
        validation_dice: Mean Dice of the defective validation images at a probability of 0.5.
        validation_ap: Image-level average precision on validation; None in files of early versions.
    """

    images_per_s: float
    seconds: float
    final_loss: float
    validation_dice: float
    validation_ap: float | None = None


class ModelDocument(DataIdentity, Document):
    """What was trained, on which data, by which code.

    Attributes:
        tinyunet_version: Version of this package.
        preset: Name of the preset.
        image_size: Side of the model's input in pixels; 0 if the model takes whole images of any size.
        channels: 1 for grey images, 3 for colour images.
        bits: Bits per channel of the images that it was trained on, 8 or 16.
        scale: Factor by which the sides of images are reduced before the network; that of the records.
        parameters: Number of trainable parameters.
        weights_digest: SHA-256 over all weights.
        precision: Keras dtype policy of the training; `auto` is resolved.
        world_size: Number of ranks.
        steps: Optimizer steps.
        seed: Of weights, order and augmentation.
        train: The whole training configuration.
        identity: What a resumption of this training must share with it.
        normalization: Scaling of the grey levels.
        data: The records.
        git_revision: Revision of the code.
        lock_digest: SHA-256 of requirements.lock, 12 hex digits.
        mlflow: The training's run; None if it was not tracked.
        training: Final figures.
    """

    FILE: ClassVar[str] = "model.json"
    MADE_BY: ClassVar[str] = "tinyunet train"
    REMEDY: ClassVar[str] = "train the model again"
    INDENT: ClassVar[int] = 2

    tinyunet_version: str = ""
    preset: str
    image_size: int
    channels: int = 1
    bits: int = 8
    scale: float = 1.0
    parameters: int
    weights_digest: str = ""
    precision: str
    world_size: int
    steps: int
    seed: int
    train: TrainConfig
    identity: Options
    normalization: Normalization
    data: ModelData
    git_revision: str = "unknown"
    lock_digest: str = "unknown"
    mlflow: MlflowReference | None = None
    training: TrainingFigures

    @field_validator("train", mode="before")
    @classmethod
    def _complete(cls, recorded: Any) -> Any:  # noqa: ANN401  any JSON value
        """Add the options that are newer than the file, and leave out those that this version lacks."""
        if not isinstance(recorded, dict):
            return recorded
        known = {key: value for key, value in recorded.items() if key in TrainConfig.model_fields}
        return with_missing_options(known)

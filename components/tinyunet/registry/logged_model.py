"""The served model in MLflow: a logged model with signature, input example and requirements."""

import importlib.metadata
import shutil
import tempfile
import warnings
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tinyunet.core.documents.evaluation import EvaluatedModel, Evaluation
from tinyunet.core.documents.reference import ImageReference
from tinyunet.core.documents.served import ServedModel
from tinyunet.registry.versions import MODEL_KEY
from tinyunet.tracking.client import open_client
from tinyunet.tracking.download import WEIGHTS_DIGEST
from tinyunet.tracking.names import ENGINE_FOLDER
from tinyunet.training.model_folder import read_model

if TYPE_CHECKING:
    import keras
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature
    from mlflow.types import TensorSpec


def find_or_log_model(
    client: "MlflowClient", run_id: str, key: str, folder: Path, model: EvaluatedModel, evaluation: Evaluation
) -> str:
    """Return the id of the logged model of an evaluated model; log it to its run if it is not complete there.

    An interrupted registration may leave a logged model without a version, or without all of its files.

    Args:
        client: Client of the tracking server.
        run_id: The run.
        key: Key of the evaluated model, see `versions.model_key`.
        folder: Model folder.
        model: Content of its model.json.
        evaluation: Evaluation of the model.
    """
    experiment = client.get_run(run_id).info.experiment_id
    known = client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    earlier = next((one for one in known if one.tags.get(MODEL_KEY) == key), None)
    if earlier and str(earlier.status) == "READY":
        return str(earlier.model_id)
    return log_model(run_id, key, folder, model, evaluation, model_id=earlier and earlier.model_id)


def log_model(
    run_id: str,
    key: str,
    folder: Path,
    model: EvaluatedModel,
    evaluation: Evaluation,
    *,
    model_id: str | None = None,
) -> str:
    """Log the served model to a run, at the operating point of its evaluation.

    Args:
        run_id: The run.
        key: Key of the evaluated model, which becomes a tag.
        folder: Model folder.
        model: Content of its model.json; the tag `weights_digest` identifies the weights.
        evaluation: Evaluation of the model.
        model_id: Id of a logged model that is not complete, to be continued; None for a new one.

    Returns:
        Id of the logged model, which is unique.
    """
    import keras
    import numpy as np

    keras.config.disable_interactive_logging()  # no progress bar for the prediction of the example
    mlflow = _mlflow()
    from mlflow.models import Model

    from tinyunet.serving.operating_point import OperatingPoint
    from tinyunet.serving.serving_model import serving_model
    from tinyunet.training.keras_file import load_model

    size, operating_point = evaluation.image_size, asdict(OperatingPoint.of(evaluation))
    network = load_model(folder / "model.keras")
    serving = serving_model(network, image_size=size, bits=model.bits, **operating_point)
    side, levels = size or 64, 2.0 ** (model.bits - 8)
    texture = np.random.default_rng(0).normal(128, 12, (1, side, side, model.channels))
    example = (levels * texture.round().clip(0, 255)).astype(serving.inputs[0].dtype)
    run = open_client().get_run(run_id)
    outputs = {one.model_id for one in run.outputs.model_outputs} if run.outputs else set()
    # MLflow puts a logged model into the active experiment; it should be the experiment of the run.
    mlflow.set_experiment(experiment_id=run.info.experiment_id)
    info = Model.log(
        artifact_path=None,
        name="model",
        flavor=mlflow.tensorflow,  # mlflow.keras supports neither input examples nor named outputs
        run_id=None if model_id in outputs else run_id,  # MLflow refuses an output that the run has already
        model=serving,
        signature=_signature(serving),
        input_example=example,
        pip_requirements=_requirements(),
        metadata={"image_size": size, "scale": model.scale, **operating_point},
        tags={WEIGHTS_DIGEST: model.weights_digest, MODEL_KEY: key},
        model_id=model_id,
    )
    return str(info.model_id)


def log_engine(
    client: "MlflowClient", model_id: str, folder: Path, evaluation: Path, records: Path | None = None
) -> None:
    """Keep with a logged model the engine that serves it without Keras, unless it is there.

    The reference of the validation images is a part of the engine, if the evaluation has one.

    Args:
        client: Client of the tracking server.
        model_id: Id of the logged model.
        folder: Model folder.
        evaluation: Evaluation folder of the model.
        records: TFRecords whose validation images decide on an int8 network; None for none.

    Raises:
        UserError: if the engine differs too much from the Keras model.
    """
    from tinyunet.data.dataset import load_split
    from tinyunet.registry.int8 import add_int8
    from tinyunet.serving.engine_files import Network, write_engine
    from tinyunet.serving.operating_point import OperatingPoint
    from tinyunet.training.keras_file import load_model

    present = {Path(file.path).name for file in client.list_logged_model_artifacts(model_id, ENGINE_FOLDER)}
    if ServedModel.FILE in present:
        return
    document, result = read_model(folder), Evaluation.read(evaluation)
    network = Network(
        load_model(folder / "model.keras"),
        image_size=document.image_size,
        bits=document.bits,
        dataset=document.dataset,
        category=document.category,
        weights_digest=document.weights_digest,
        scale=document.scale,
    )
    with tempfile.TemporaryDirectory() as part:
        write_engine(Path(part), network, OperatingPoint.of(result))
        if (reference := evaluation / ImageReference.FILE).is_file():
            shutil.copy(reference, part)
        if records is not None:
            add_int8(Path(part), load_split(records, "validation", document.image_size))
        # engine.json is the last one: without it there is no engine.
        for file in sorted(Path(part).iterdir(), key=lambda file: file.name == ServedModel.FILE):
            client.log_model_artifact(model_id, str(file), ENGINE_FOLDER)


def save_served_model(serving: "keras.Model", folder: Path) -> None:
    """Write a served model to a folder, as MLflow keeps it in a run."""
    signature, requirements = _signature(serving), _requirements()
    _mlflow().tensorflow.save_model(serving, folder, signature=signature, pip_requirements=requirements)


def _mlflow() -> ModuleType:
    """Return the package mlflow, with the modules for models of TensorFlow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Any type hint is inferred")  # about MLflow's own code
        import mlflow.pyfunc
        import mlflow.tensorflow
    return mlflow  # type: ignore[no-any-return]


def _signature(serving: "keras.Model") -> "ModelSignature":
    """Return the types and shapes of inputs and outputs; batch, height and width are variable."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def spec(tensor: "keras.KerasTensor", name: str | None) -> "TensorSpec":
        return TensorSpec(np.dtype(tensor.dtype), tuple(-1 if n is None else n for n in tensor.shape), name)

    outputs = [spec(tensor, name) for name, tensor in serving.output.items()]
    return ModelSignature(inputs=Schema([spec(serving.inputs[0], None)]), outputs=Schema(outputs))


def _requirements() -> list[str]:
    """Return the packages that the served model needs, in the installed versions."""
    try:
        importlib.metadata.version("tensorflow-cpu")
        tensorflow = "tensorflow-cpu"
    except importlib.metadata.PackageNotFoundError:
        tensorflow = "tensorflow"
    return [f"{name}=={importlib.metadata.version(name)}" for name in ("keras", "numpy", tensorflow)]

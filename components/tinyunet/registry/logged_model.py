"""The served model as MLflow keeps it: with signature, example and requirements."""

import importlib.metadata
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyunet.core.files import read_json
from tinyunet.tracking.client import open_client
from tinyunet.tracking.download import WEIGHTS_DIGEST

if TYPE_CHECKING:
    import keras
    from mlflow.models import ModelSignature
    from mlflow.types import TensorSpec


def log_model(run_id: str, model: Path, metrics: dict[str, Any]) -> str:
    """Log the model as it is served to a run: grey levels in; probability, mask, score and verdict out.

    Returns:
        Id of the logged model, which no later one shares; its tag `weights_digest` says of which weights.
    """
    import keras
    import numpy as np

    keras.config.disable_interactive_logging()  # the example's prediction would draw a progress bar
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*Any type hint is inferred")  # MLflow's, of its own code
        import mlflow.pyfunc
        import mlflow.tensorflow
    from mlflow.models import Model

    from tinyunet.serving.operating_point import OperatingPoint
    from tinyunet.serving.serving_model import serving_model
    from tinyunet.training.keras_file import load_model

    size, use = metrics["image_size"], OperatingPoint.of(metrics)
    serving = serving_model(load_model(model / "model.keras"), image_size=size, **asdict(use))
    texture = np.random.default_rng(0).normal(128, 12, (1, size, size, 1))
    example = texture.round().clip(0, 255).astype(serving.inputs[0].dtype)
    # A logged model belongs to the active experiment, not to its run's: make them one.
    mlflow.set_experiment(experiment_id=open_client().get_run(run_id).info.experiment_id)
    info = Model.log(
        artifact_path=None,
        name="model",
        flavor=mlflow.tensorflow,  # mlflow.keras takes neither input examples nor named outputs
        run_id=run_id,
        model=serving,
        signature=_signature(serving),
        input_example=example,
        pip_requirements=_requirements(),
        metadata={"image_size": size, **asdict(use)},
        tags={WEIGHTS_DIGEST: read_json(model / "model.json")[WEIGHTS_DIGEST]},
    )
    return str(info.model_id)


def _signature(serving: "keras.Model") -> "ModelSignature":
    """Give types and shapes of inputs and outputs; batch, height and width are free."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    def spec(tensor: "keras.KerasTensor", name: str | None) -> "TensorSpec":
        return TensorSpec(np.dtype(tensor.dtype), tuple(-1 if n is None else n for n in tensor.shape), name)

    outputs = [spec(tensor, name) for name, tensor in serving.output.items()]
    return ModelSignature(inputs=Schema([spec(serving.inputs[0], None)]), outputs=Schema(outputs))


def _requirements() -> list[str]:
    """Pin what serving the model needs, as installed here."""
    names = {d.name.lower().replace("_", "-") for d in importlib.metadata.distributions()}
    wanted = ["keras", "numpy", "tensorflow-cpu" if "tensorflow-cpu" in names else "tensorflow"]
    return [f"{name}=={importlib.metadata.version(name)}" for name in wanted]

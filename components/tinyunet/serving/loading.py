"""Loading of a model for serving: from a model folder, a `.keras` file or MLflow."""

import hashlib
from dataclasses import asdict
from pathlib import Path

import keras

from tinyunet.core.console import say
from tinyunet.core.errors import UserError
from tinyunet.evaluation.evaluate import read_evaluated_model
from tinyunet.model.unet import rebuild
from tinyunet.serving.operating_point import find_operating_point
from tinyunet.serving.serving_model import OUTPUTS, serving_model
from tinyunet.training.keras_file import for_this_machine, load_model

MLFLOW_SCHEMES = ("models:/", "runs:/")


def load_serving(model: str | Path, *, plain: bool = False) -> keras.Model:
    """Load a model for serving.

    Args:
        model: A model folder or a `.keras` file (the operating point comes from an evaluation, see
            `find_operating_point`), a folder with one `.keras` file, or `models:/name@alias` or `runs:/id` of
            MLflow.
        plain: Keep the network as it is in the file, from Keras' own layers (`build_unet`).

    Raises:
        UserError: if there is no such model.
    """
    path = _find_model(str(model))
    if (path / "model.json").is_file():
        document = read_evaluated_model(path)
        network = for_this_machine(load_model(path / "model.keras"))
        operating_point = find_operating_point(path, document.sha256)
        network = network if plain else rebuild(network)
        return serving_model(
            network, image_size=document.image_size, bits=document.bits, **asdict(operating_point)
        )
    file = _keras_file(path)
    loaded = for_this_machine(load_model(file))
    if _check_shapes(loaded, path):
        say(f"thresholds and poses of {model} are those that it was exported with")
        return loaded
    operating_point = find_operating_point(file.parent, hashlib.sha256(file.read_bytes()).hexdigest())
    return serving_model(loaded, image_size=loaded.input_shape[1] or 0, **asdict(operating_point))


def _check_shapes(model: keras.Model, path: Path) -> bool:
    """Return whether a loaded model is one for serving; otherwise it is a network.

    Raises:
        UserError: if the model is neither, by the names and shapes of its inputs and outputs.
    """
    if not model.built or not getattr(model, "inputs", None):
        raise UserError(f"{path} has no defined input; build the model before it is saved")
    given, output = model.input_shape, model.output
    if isinstance(output, dict):
        if not set(OUTPUTS) <= set(output):
            raise UserError(
                f"{path} gives {', '.join(output)}; expected {', '.join(OUTPUTS)}: export it again"
            )
        ranks = [len(output[name].shape) for name in OUTPUTS]
        if given not in [(None, None, None, channels) for channels in (1, 3)] or ranks != [4, 4, 1, 1]:
            raise UserError(
                f"{path} takes images of shape {given}; expected (None, None, None, 1 or 3), and outputs "
                "as of `tinyunet export`: export it again"
            )
        return True
    result = model.output_shape
    square = isinstance(given, tuple) and len(given) == 4 and given[1] == given[2]
    if not square or given[0] is not None or given[3] not in (1, 3) or result != (*given[:3], 1):
        raise UserError(
            f"{path} maps {given} to {result}; expected images (None, S, S, 1 or 3) and logits "
            "(None, S, S, 1): use a model that `tinyunet train` or `tinyunet export` wrote"
        )
    return False


def _find_model(model: str) -> Path:
    """Return the local path of a model, downloaded if `model` is an MLflow URI."""
    if model.startswith(MLFLOW_SCHEMES):
        from tinyunet.tracking.download import download_model

        return Path(download_model(model))
    path = Path(model)
    if not path.exists():
        raise UserError(
            f"{model} does not exist; expected a model folder, a .keras file or models:/NAME@champion"
        )
    in_model_folder = path.name == "model.keras" and (path.parent / "model.json").is_file()
    return path.parent if in_model_folder else path


def _keras_file(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(path.rglob("*.keras"))
    if len(files) != 1:
        raise UserError(
            f"{path} holds {len(files)} .keras files; expected one, or a folder that training wrote"
        )
    return files[0]

"""Loading of a Keras model for serving: from a model folder, a `.keras` file or MLflow."""

from dataclasses import asdict
from pathlib import Path

import keras

from tinyunet.core.errors import UserError
from tinyunet.model.unet import rebuild
from tinyunet.serving.exported import OUTPUTS
from tinyunet.serving.registered import MLFLOW_SCHEMES
from tinyunet.serving.serving_model import serving_model
from tinyunet.serving.sources import Source, find_source
from tinyunet.training.keras_file import for_this_machine, load_model


def load_serving(model: str | Path, *, plain: bool = False) -> keras.Model:
    """Load a model for serving.

    Args:
        model: A model folder or a `.keras` file (the operating point comes from an evaluation, see
            `find_evaluation`), a folder with one `.keras` file, or `models:/name@alias` or `runs:/id` of
            MLflow.
        plain: Keep the network as it is in the file, from Keras' own layers (`build_unet`).

    Raises:
        UserError: if there is no such model.
    """
    return load_source(serving_source(model), plain=plain)


def serving_source(model: str | Path) -> Source:
    """Find a model for serving, which is downloaded if it is in MLflow.

    Args:
        model: As for `load_serving`.

    Raises:
        UserError: if there is no such model.
    """
    if str(model).startswith(MLFLOW_SCHEMES):
        from tinyunet.tracking.download import download_model

        return find_source(download_model(str(model)))
    return find_source(Path(model))


def load_source(source: Source, *, plain: bool = False) -> keras.Model:
    """Load a model for serving from its source; see `load_serving`."""
    loaded = for_this_machine(load_model(source.file))
    if is_serving_model(loaded, source.file):
        return loaded
    size = loaded.input_shape[1] or 0 if source.image_size is None else source.image_size
    of_training = source.image_size is not None
    network = rebuild(loaded) if of_training and not plain else loaded
    return serving_model(network, image_size=size, bits=source.bits, **asdict(source.point))


def is_serving_model(model: keras.Model, path: Path) -> bool:
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

"""A Keras model as the source of an engine: its file, and what is known about it without loading it."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tinyunet.core.console import say
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.reference import ImageReference
from tinyunet.core.errors import UserError
from tinyunet.core.files import file_sha256
from tinyunet.serving.exported import read_exported
from tinyunet.serving.operating_point import OperatingPoint, choose_operating_point, find_evaluation
from tinyunet.training.keras_file import check_format

FORMAT = 1  # a change of it makes all cached conversions unused


@dataclass(frozen=True)
class Source:
    """A Keras model and its operating point.

    Attributes:
        file: The `.keras` file, of a network or of a model for serving.
        sha256: Its digest.
        point: Thresholds, score and poses.
        image_size: Side in pixels to which images are resized; None if only the network tells it.
        bits: Bits per channel of the images, 8 or 16; a model for serving tells its own.
        dataset: Name of the data set; empty if it is unknown.
        category: Category of the data set.
        weights_digest: SHA-256 over all weights; empty if it is unknown.
        reference: File of the drift reference; None if there is none.
        scale: Factor by which images are reduced before the network; a model for serving takes images at it,
            and only the file MLmodel beside it tells it.
    """

    file: Path
    sha256: str
    point: OperatingPoint
    image_size: int | None = None
    bits: int = 8
    dataset: str = ""
    category: str = ""
    weights_digest: str = ""
    reference: Path | None = None
    scale: float = 1.0

    @property
    def key(self) -> str:
        """Return a digest of everything that the engine depends on, 32 hex digits."""
        values = asdict(self) | {"file": "", "format": FORMAT}
        values["reference"] = file_sha256(self.reference) if self.reference else ""
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def name(self) -> str:
        """Return a name for people: the data set, or the name of the file without it."""
        return "-".join(filter(None, (self.dataset, self.category))) or self.file.stem


def find_source(path: Path) -> Source:
    """Find the Keras model at a path, and print where its operating point comes from.

    Args:
        path: A model folder, a `.keras` file, or a folder that holds one `.keras` file.

    Raises:
        UserError: if there is no such model.
    """
    if not path.exists():
        raise UserError(
            f"{path} does not exist; expected a model folder, a .keras file or models:/NAME@champion"
        )
    folder = path.parent if path.name == "model.keras" else path
    file = folder / "model.keras" if (folder / ModelDocument.FILE).is_file() else keras_file(path)
    if not file.is_file():
        raise UserError(f"{folder} holds no model.keras; expected a folder that `tinyunet train` made")
    check_format(file)  # before anything is said about a file that is no model
    config = _read_config(file)
    if isinstance(config.get("output_layers"), Mapping):
        point = read_exported(config, str(path))
        say(f"thresholds and poses of {path} are those that it was exported with")
        return Source(file, file_sha256(file), point, scale=_scale_of_logged_model(file))
    return _network_source(file)


def keras_file(path: Path) -> Path:
    """Return the `.keras` file at a path: the file itself, or the only one in a folder.

    Raises:
        UserError: if a folder holds none, or several.
    """
    if path.is_file():
        return path
    files = sorted(path.rglob("*.keras"))
    if len(files) != 1:
        raise UserError(
            f"{path} holds {len(files)} .keras files; expected one, or a folder that training wrote"
        )
    return files[0]


def _scale_of_logged_model(file: Path) -> float:
    """Return the scale in the metadata of MLflow's MLmodel, for the data/model.keras of a logged model.

    It is 1 if there is no such file, and in models that were logged before there was a scale.
    """
    description = file.parent.parent / "MLmodel"
    if not description.is_file():
        return 1.0
    import yaml

    try:
        metadata = yaml.safe_load(description.read_text(encoding="utf-8")).get("metadata") or {}
        return float(metadata.get("scale", 1))
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, ValueError) as error:
        raise UserError(f"{description} is not a description of a model; download the model again") from error


def _network_source(file: Path) -> Source:
    """Return the source of a bare network, with the facts from its model.json or from its evaluation."""
    sha256 = file_sha256(file)
    found = find_evaluation(file.parent, sha256)
    document = _document(file, found.evaluation if found else None)
    point = choose_operating_point(found, file.parent)
    reference = found.folder / ImageReference.FILE if found else None
    if document is None:
        say(f"no {ModelDocument.FILE} beside {file}: images are taken at scale 1")
        return Source(file, sha256, point)
    return Source(
        file,
        sha256,
        point,
        image_size=document.image_size,
        bits=document.bits,
        dataset=document.dataset,
        category=document.category,
        weights_digest=document.weights_digest,
        reference=reference if reference and reference.is_file() else None,
        scale=document.scale,
    )


def _document(file: Path, evaluation: Evaluation | None) -> ModelDocument | None:
    """Return the description of a network: of the model folder whose model.keras it is, or as evaluated."""
    if file.name == "model.keras" and (file.parent / ModelDocument.FILE).is_file():
        return ModelDocument.read(file.parent)
    return evaluation.model if evaluation else None


def _read_config(file: Path) -> dict[str, Any]:
    """Return the configuration of the model in a `.keras` file; empty if it cannot be read."""
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))["config"]
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
        return {}
    return config if isinstance(config, dict) else {}

"""What MLflow keeps about a version of a registered model: its tags, its run, and the files of its origin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tinyunet.core.documents.base import Document
from tinyunet.core.documents.evaluation import Evaluation
from tinyunet.core.documents.model import ModelDocument
from tinyunet.core.documents.raw import RawManifest
from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.documents.served import ServedModel
from tinyunet.core.errors import UserError
from tinyunet.data.raw import SOURCES
from tinyunet.evaluation.evaluate import RECORDS
from tinyunet.registry.versions import MODEL_KEY, find_logged_model
from tinyunet.tracking.client import mlflow_errors, open_client
from tinyunet.tracking.download import (
    MODEL_FILES,
    WEIGHTS_DIGEST,
    download_engine,
    find_model,
    training_artifact_path,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

Kind = TypeVar("Kind", bound=Document)


@dataclass(frozen=True)
class Evidence:
    """The records and files of a version.

    Attributes:
        name: Registered model.
        version: Number of the version.
        aliases: Aliases of the version.
        tags: Tags of the version.
        run_id: Its run.
        run_tags: Tags of the run.
        run_status: Status of the run; empty if MLflow has no such run.
        folder: Folder of the downloaded files.
        damaged: Why documents cannot be read, by file.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    run_id: str
    run_tags: Mapping[str, str]
    run_status: str
    folder: Path
    damaged: dict[str, str] = field(default_factory=dict)

    def file(self, name: str) -> Path | None:
        """Return the path of a downloaded file, or None if MLflow does not have it."""
        path = self.folder / name
        return path if path.is_file() else None

    def read(self, kind: type[Kind], name: str) -> Kind | None:
        """Return a downloaded document, or None if MLflow does not have it or it cannot be read."""
        path = self.file(name)
        try:
            return kind.parse(path.read_bytes(), name) if path else None
        except UserError as error:
            self.damaged[name] = str(error)
            return None

    @property
    def model(self) -> ModelDocument | None:
        """Return model.json of the training."""
        return self.read(ModelDocument, ModelDocument.FILE)

    @property
    def evaluation(self) -> Evaluation | None:
        """Return metrics.json of the evaluation."""
        return self.read(Evaluation, Evaluation.FILE)

    @property
    def records(self) -> RecordsManifest | None:
        """Return the manifest of the records."""
        return self.read(RecordsManifest, RECORDS)

    @property
    def sources(self) -> RawManifest | None:
        """Return the description of the source images."""
        return self.read(RawManifest, SOURCES)

    @property
    def engine(self) -> ServedModel | None:
        """Return the description of the engine."""
        return self.read(ServedModel, ServedModel.FILE)


def collect(uri: str, folder: Path) -> Evidence:
    """Download the files of a version, and return them with its tags and its run.

    Args:
        uri: models:/NAME@ALIAS or models:/NAME/VERSION.
        folder: Folder to fill.

    Raises:
        UserError: if there is no such version, or MLflow cannot be reached.
    """
    found = find_model(uri)
    if not found.name:
        raise UserError(
            f"{uri!r} is no version of a registered model; expected models:/NAME@champion or models:/NAME/2"
        )
    with mlflow_errors():
        client = open_client(existing=True)
        version = client.get_model_version(found.name, found.version)
        tags, run_id = dict(version.tags), str(version.run_id)
        run = client.get_run(run_id)
        _download(client, run_id, training_artifact_path(tags.get(WEIGHTS_DIGEST, "")), MODEL_FILES, folder)
        names = (Evaluation.FILE, RECORDS, SOURCES)
        _download(client, run_id, f"evaluation/{tags.get(MODEL_KEY, '')}", names, folder)
        if model_id := find_logged_model(client, found.name, found.version):
            download_engine(model_id, folder)
    return Evidence(
        name=found.name,
        version=found.version,
        aliases=tuple(map(str, version.aliases)),
        tags=tags,
        run_id=run_id,
        run_tags=dict(run.data.tags),
        run_status=str(run.info.status),
        folder=folder,
    )


def _download(client: "MlflowClient", run_id: str, source: str, names: tuple[str, ...], folder: Path) -> None:
    """Download those files of a folder of a run's artifacts that exist."""
    for item in client.list_artifacts(run_id, source):
        if (name := Path(item.path).name) in names:
            Path(client.download_artifacts(run_id, item.path, str(folder))).rename(folder / name)

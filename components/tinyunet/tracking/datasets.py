"""The records of a training as datasets of its MLflow run."""

import json
from typing import TYPE_CHECKING

from tinyunet.core.documents.records import RecordsManifest
from tinyunet.core.urls import redact

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

MAX_DIGEST = 36  # MLflow's limit for the digest of a dataset, in characters
CONTEXTS = {"train": "training", "validation": "validation", "test": "testing"}


def run_datasets(manifest: RecordsManifest) -> "list[DatasetInput]":
    """Return the splits of the records as MLflow datasets, from the manifest alone."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": redact(manifest.source)})
    inputs = []
    for name, split in manifest.splits.items():
        dataset = Dataset(
            name=f"{manifest.full_name}-{name}",
            digest=split.digest[:MAX_DIGEST],
            source_type="tinyunet",
            source=source,
            profile=json.dumps({"num_rows": split.images, "defective": split.defective}),
        )
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", CONTEXTS[name])]))
    return inputs

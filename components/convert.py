"""Verified class folder → sharded TFRecords: train, validation, test."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components.base import component


@component
def convert(
    raw: Input[Dataset],
    records: Output[Dataset],
    sizes: Output[Metrics],
    class_id: int = 1,
    validation_fraction: float = 0.15,
    fold: int = 0,
    shards: int = 4,
) -> None:
    """Write TFRecords and a manifest with their counts and SHA-256.

    Args:
        raw: Output of `ingest`.
        records: Folder of `{split}-{i:05d}-of-{n:05d}.tfrecord` and manifest.json.
        sizes: Images and defective images of every split.
        class_id: DAGM2007 class of `raw`.
        validation_fraction: Part of Train that is held out, per stratum (defective, clean).
        fold: Which held-out part.
        shards: Files per split.
    """
    from pathlib import Path

    from tinyunet.core.config import DataConfig
    from tinyunet.data.tfrecord import convert as run

    config = DataConfig(class_id=class_id, validation_fraction=validation_fraction, fold=fold, shards=shards)
    manifest = run(Path(raw.path), Path(records.path), config)
    records.metadata.update({key: manifest[key] for key in ("digest", "class_id", "complete", "synthetic")})
    for name, found in manifest["splits"].items():
        sizes.log_metric(f"{name}_images", found["images"])
        sizes.log_metric(f"{name}_defective", found["defective"])

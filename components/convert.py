"""The component that converts verified images to sharded TFRecords: train, validation, test."""

from kfp.dsl import Dataset, Input, Metrics, Output

from components.base import component


@component
def convert(
    raw: Input[Dataset],
    records: Output[Dataset],
    sizes: Output[Metrics],
    validation_fraction: float = 0.15,
    fold: int = 0,
    shards: int = 4,
    scale: float = 1.0,
) -> None:
    """Write TFRecords and a manifest with the numbers of images and the SHA-256 of every file.

    Args:
        raw: Output of `ingest`.
        records: Folder of `{split}-{i:05d}-of-{n:05d}.tfrecord` and manifest.json.
        sizes: Numbers of images and of defective images in every split.
        validation_fraction: Fraction of Train that is held out for validation, separately for the defective
            and the defect-free images.
        fold: Number of the part of Train that is held out, counted from 0.
        shards: Number of TFRecord files per split.
        scale: Factor of the sides of every stored image, above 0 and at most 1. Predictions of the model
            reduce images in the same way, and answer at their own size. Below 1, it is trained on patches.
    """
    from pathlib import Path

    from tinyunet.core.config import DataConfig
    from tinyunet.data.tfrecord import convert as run

    config = DataConfig(validation_fraction=validation_fraction, fold=fold, shards=shards, scale=scale)
    manifest = run(Path(raw.path), Path(records.path), config)
    records.metadata.update(manifest.metadata())
    for name, split in manifest.splits.items():
        sizes.log_metric(f"{name}_images", split.images)
        sizes.log_metric(f"{name}_defective", split.defective)

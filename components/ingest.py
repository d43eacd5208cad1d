"""DAGM2007 from any source → one verified class folder and its validation report."""

from kfp.dsl import HTML, Dataset, Output

from components.base import component


@component
def ingest(
    raw: Output[Dataset], report: Output[HTML], source: str = "synthetic://", class_id: int = 1
) -> None:
    """Fetch one class and verify it before any computation.

    Args:
        raw: Folder in the official layout (Train, Test, Label) with manifest.json.
        report: The checks of the images and their results, a self-contained page.
        source: Folder, .zip, s3://bucket/prefix, https://… or synthetic://[?train=&test=&size=&seed=].
        class_id: DAGM2007 class, 1 to 10.
    """
    import shutil
    from pathlib import Path

    from tinyunet.data.ingest import ingest as run

    manifest = run(source, Path(raw.path), class_id=class_id)
    raw.metadata.update(manifest.model_dump(include={"digest", "class_id", "complete", "synthetic"}))
    shutil.copyfile(Path(raw.path) / "report.html", report.path)

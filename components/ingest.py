"""The component that fetches one class of DAGM2007 from any source, verifies it and writes a report."""

from kfp.dsl import HTML, Dataset, Output

from components.base import component


@component
def ingest(
    raw: Output[Dataset],
    report: Output[HTML],
    source: str = "synthetic://",
    class_id: int = 1,
    preset: str = "fast",
    image_size: int = 512,
    steps: int = 0,
    precision: str = "auto",
    seed: int = 0,
    overrides: str = "",
    workers: int = 1,
    slots_per_worker: int = 1,
    launcher: str = "auto",
    validation_fraction: float = 0.15,
    fold: int = 0,
    test_time_poses: int = 1,
    image_score: str = "max",
    model_name: str = "",
) -> None:
    """Check the parameters of all tasks, so that no later task refuses one; fetch one class and verify it.

    Args:
        raw: Folder in the official layout (Train, Test, Label) with manifest.json.
        report: A self-contained page with the checks of the images and their results.
        source: Folder, .zip, s3://bucket/prefix, https://… or synthetic://[?train=&test=&size=&seed=].
        class_id: DAGM2007 class, 1 to 10.
        preset: Checked here, used by `train`.
        image_size: Checked here, used by `train`.
        steps: Checked here, used by `train`.
        precision: Checked here, used by `train`.
        seed: Checked here, used by `train`.
        overrides: Checked here, used by `train`.
        workers: Checked here, used by `train`.
        slots_per_worker: Checked here, used by `train`.
        launcher: Checked here, used by `train`.
        validation_fraction: Checked here, used by `convert`.
        fold: Checked here, used by `convert`.
        test_time_poses: Checked here, used by `evaluate`.
        image_score: Checked here, used by `evaluate`.
        model_name: Checked here, used by `register`.
    """
    import shutil
    from pathlib import Path

    from tinyunet.data.ingest import ingest as run
    from tinyunet.launch.parameters import check_parameters

    check_parameters(locals())
    manifest = run(source, Path(raw.path), class_id=class_id)
    raw.metadata.update(manifest.model_dump(include={"digest", "class_id", "complete", "synthetic"}))
    shutil.copyfile(Path(raw.path) / "report.html", report.path)

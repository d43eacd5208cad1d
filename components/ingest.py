"""The component that reads a data set from any source, verifies it and writes a report."""

from kfp.dsl import HTML, Dataset, Output

from components.base import component


@component
def ingest(
    raw: Output[Dataset],
    report: Output[HTML],
    source: str = "synthetic://",
    category: str = "",
    ingest_options: str = "",
    preset: str = "fast",
    image_size: int = 0,
    patch: int = 0,
    steps: int = 0,
    precision: str = "auto",
    seed: int = 0,
    overrides: str = "",
    workers: int = 1,
    slots_per_worker: int = 1,
    launcher: str = "auto",
    validation_fraction: float = 0.15,
    fold: int = 0,
    scale: float = 1.0,
    test_time_poses: int = 1,
    image_score: str = "auto",
    target: str = "",
    cost: str = "",
    model_name: str = "",
    deploy: bool = False,
) -> None:
    """Check the parameters and the services of all tasks; read the images and verify them.

    Args:
        raw: Folder of images and masks with dataset.json.
        report: A self-contained page with the checks of the images and their results.
        source: Folder, archive, s3://bucket/prefix, https://… or synthetic://[?train=&test=&size=&seed=].
        category: Category of the data set, such as `bottle`; a class of DAGM2007 may be a number, 1 to 10.
            Empty for a data set without categories.
        ingest_options: YAML mapping of other options: `layout`, `images`, `masks`, `name`, `channels`,
            `split`, `unmasked`, `allow_partial`.
        preset: Checked here, used by `train`.
        image_size: Checked here, used by `train`.
        patch: Checked here, used by `train`.
        steps: Checked here, used by `train`.
        precision: Checked here, used by `train`.
        seed: Checked here, used by `train`.
        overrides: Checked here, used by `train`.
        workers: Checked here, used by `train`.
        slots_per_worker: Checked here, used by `train`.
        launcher: Checked here, used by `train`.
        validation_fraction: Checked here, used by `convert`.
        fold: Checked here, used by `convert`.
        scale: Checked here, used by `convert`.
        test_time_poses: Checked here, used by `evaluate`.
        image_score: Checked here, used by `evaluate`.
        target: Checked here, used by `evaluate`.
        cost: Checked here, used by `evaluate`.
        model_name: Checked here, used by `register`.
        deploy: Checked here, used by `register`.
    """
    import shutil
    from pathlib import Path

    from tinyunet.data.ingest import ingest as run
    from tinyunet.launch.parameters import check_parameters
    from tinyunet.launch.parameters import ingest_options as options
    from tinyunet.launch.preconditions import check_cluster

    check_parameters(locals())
    check_cluster(launcher, raw.uri, deploy=deploy)
    manifest = run(source, Path(raw.path), options(category, ingest_options))
    raw.metadata.update(manifest.metadata())
    shutil.copyfile(Path(raw.path) / "report.html", report.path)

"""The way of the data as a pipeline: the same function on Kubeflow and on one machine."""

from kfp import dsl
from kfp.dsl.base_component import BaseComponent

from components.convert import convert
from components.evaluate import evaluate
from components.ingest import ingest
from components.register import register
from components.train import train
from pipeline.resources import LOCAL, Resources


def build(resources: Resources = LOCAL) -> BaseComponent:
    """Give the pipeline, its tasks dressed with what Kubernetes shall add to them."""

    @dsl.pipeline(name="tinyunet", description="Defect segmentation: train, judge and register TinyUNet")
    def tinyunet(
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
        """Train, judge and register a defect-segmentation model.

        1. ingest    fetches one DAGM2007 class and verifies it
        2. convert   writes TFRecords: train, validation, test
        3. train     runs Horovod ranks, `workers` × `slots_per_worker` of them
        4. evaluate  chooses the threshold on validation, scores on Test
        5. register  makes a model version; `champion` moves only to a better one
        """
        raw = ingest(source=source, class_id=class_id).set_display_name("1 Ingest")
        records = convert(
            raw=raw.outputs["raw"], class_id=class_id, validation_fraction=validation_fraction, fold=fold
        ).set_display_name("2 Convert")
        model = train(
            records=records.outputs["records"],
            run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            preset=preset,
            image_size=image_size,
            steps=steps,
            precision=precision,
            seed=seed,
            overrides=overrides,
            workers=workers,
            slots_per_worker=slots_per_worker,
            launcher=launcher,
        ).set_display_name("3 Train")
        evaluation = evaluate(
            records=records.outputs["records"],
            model=model.outputs["model"],
            test_time_poses=test_time_poses,
            image_score=image_score,
        ).set_display_name("4 Evaluate")
        version = register(
            model=model.outputs["model"], evaluation=evaluation.outputs["evaluation"], name=model_name
        ).set_display_name("5 Register")
        resources.dress(train=model, others=[raw, records, evaluation, version])

    return tinyunet

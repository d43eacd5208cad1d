"""The way of the data as a pipeline, for one class or several: the same on Kubeflow and on one machine."""

import inspect
from collections.abc import Callable
from typing import List  # noqa: UP035  KFP reads the annotation and knows only this name

from kfp import dsl
from kfp.dsl import PipelineTask
from kfp.dsl.base_component import BaseComponent

from components.compare import compare
from components.convert import convert
from components.evaluate import evaluate
from components.ingest import ingest
from components.register import register
from components.train import train
from pipeline.resources import LOCAL, Resources

STEPS = ("ingest", "convert", "train", "evaluate", "register")
COMPONENTS = (register, evaluate, train, convert, ingest)  # the last that knows a parameter speaks
CLASSES = "DAGM2007 classes, 1 to 10, each with a model of its own."


def described(pipeline: Callable[..., None]) -> Callable[..., None]:
    """Add to a pipeline's docstring, from which KFP takes it, what the components say of its parameters."""
    said = {name: spec.description for c in COMPONENTS for name, spec in c.component_spec.inputs.items()}
    said |= {"model_name": said["name"], "classes": CLASSES}
    lines = (f"    {name}: {' '.join(said[name].split())}" for name in inspect.signature(pipeline).parameters)
    pipeline.__doc__ = "\n".join([inspect.getdoc(pipeline) or "", "", "Args:", *lines])
    return pipeline


def build(resources: Resources = LOCAL) -> BaseComponent:
    """Give the pipeline of one class, its tasks dressed with what Kubernetes shall add to them."""

    @dsl.pipeline(name="tinyunet", description="Defect segmentation: train, judge and register TinyUNet")
    @described
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
        5. register  makes a model version; the alias `champion` goes to the best one
        """
        _one_class(
            resources,
            source=source,
            class_id=class_id,
            preset=preset,
            image_size=image_size,
            steps=steps,
            precision=precision,
            seed=seed,
            overrides=overrides,
            workers=workers,
            slots_per_worker=slots_per_worker,
            launcher=launcher,
            validation_fraction=validation_fraction,
            fold=fold,
            test_time_poses=test_time_poses,
            image_score=image_score,
            model_name=model_name,
        )

    return tinyunet


def build_classes(resources: Resources = LOCAL) -> BaseComponent:
    """Give the pipeline of several classes: that of one for each of them, then a table of all."""

    @dsl.pipeline(name="tinyunet-classes", description="TinyUNet for several classes, and a table of them")
    @described
    def tinyunet_classes(
        source: str = "synthetic://",
        classes: List[int] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],  # noqa: B006, UP006  KFP takes a copy
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
    ) -> None:
        """Train, judge and register one model per class.

        1. to 5.     the pipeline of one class, for each of `classes`; every class has its registered model
        6. compare   puts NVIDIA's table beside ours, and says which rows are official data
        """
        with dsl.ParallelFor(items=classes, parallelism=resources.classes_at_a_time) as class_id:
            evaluation = _one_class(
                resources,
                source=source,
                class_id=class_id,
                preset=preset,
                image_size=image_size,
                steps=steps,
                precision=precision,
                seed=seed,
                overrides=overrides,
                workers=workers,
                slots_per_worker=slots_per_worker,
                launcher=launcher,
                validation_fraction=validation_fraction,
                fold=fold,
                test_time_poses=test_time_poses,
                image_score=image_score,
                model_name="",
            )
        table = compare(evaluations=dsl.Collected(evaluation.outputs["evaluation"]))
        resources.configure(table.set_display_name("6 Compare"))

    return tinyunet_classes


PIPELINES: dict[str, Callable[..., BaseComponent]] = {
    "tinyunet": build,
    "tinyunet-classes": build_classes,
}


def _one_class(
    resources: Resources,
    *,
    source: object,
    class_id: object,
    validation_fraction: object,
    fold: object,
    test_time_poses: object,
    image_score: object,
    model_name: object,
    **training: object,
) -> PipelineTask:
    """Wire the five steps of one class; give the evaluation."""
    raw = ingest(source=source, class_id=class_id).set_display_name("1 Ingest")
    records = convert(
        raw=raw.outputs["raw"], class_id=class_id, validation_fraction=validation_fraction, fold=fold
    ).set_display_name("2 Convert")
    model = train(
        records=records.outputs["records"],
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        class_id=class_id,
        **training,
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
    raw.set_caching_options(False)  # other images may lie behind the same source by now
    model.set_caching_options(False)  # a cached launch would start nothing
    resources.configure(raw, records, evaluation, version)
    resources.configure_training(model)
    return evaluation

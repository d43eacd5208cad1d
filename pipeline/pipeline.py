"""The pipeline for one category and for several categories: the same on Kubeflow and on one machine."""

import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, List  # noqa: UP035  KFP reads the annotation and accepts only this name

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
# The components that describe the parameters. If several components have a parameter, the last one describes
# it. `ingest` is the first, because it only checks most of its parameters.
COMPONENTS = (ingest, register, evaluate, train, convert)
CATEGORIES = "Categories of the data set; a class of DAGM2007 may be a number. Each one has its own model."

PipelineFunction = Callable[..., None]


def build(resources: Resources = LOCAL) -> BaseComponent:
    """Return the pipeline for one category, with the given resources on its tasks."""

    @dsl.pipeline(name="tinyunet", description="Defect segmentation: train, evaluate and register TinyUNet")
    @_with_task_parameters()
    def tinyunet(**parameters: Any) -> None:  # noqa: ANN401  each has its own type
        """Train, evaluate and register a defect-segmentation model.

        1. ingest    reads the images, verifies them and writes them in one form
        2. convert   writes TFRecords: train, validation, test
        3. train     runs Horovod ranks, `workers` × `slots_per_worker` of them
        4. evaluate  chooses the threshold on validation, scores on Test
        5. register  creates a model version; the best version has the alias `champion`, and, with `deploy`,
                     replaces the servers of the model
        """
        _add_category_tasks(resources, **parameters)

    return tinyunet


def build_classes(resources: Resources = LOCAL) -> BaseComponent:
    """Return the pipeline for several categories: the tasks of each one, then a table of all."""

    @dsl.pipeline(
        name="tinyunet-classes", description="TinyUNet for several categories, and a table of all scores"
    )
    @_with_task_parameters(without=("category", "model_name"))
    def tinyunet_classes(
        categories: List[str] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"],  # noqa: B006, UP006  KFP copies it
        **parameters: Any,  # noqa: ANN401  each has its own type
    ) -> None:
        """Train, evaluate and register one model per category.

        1. to 5.     the tasks of one category, for each of `categories`; each has its own registered model
        6. compare   writes a table of all scores, for DAGM2007 with NVIDIA's published ones
        """
        with dsl.ParallelFor(items=categories, parallelism=resources.classes_at_a_time) as category:
            evaluation = _add_category_tasks(resources, category=category, **parameters)
        table = compare(evaluations=dsl.Collected(evaluation.outputs["evaluation"]))
        resources.configure(table.set_display_name("6 Compare"))

    return tinyunet_classes


PIPELINES: dict[str, Callable[..., BaseComponent]] = {
    "tinyunet": build,
    "tinyunet-classes": build_classes,
}


def _add_category_tasks(
    resources: Resources,
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
) -> PipelineTask:
    """Add the five tasks of one category to the pipeline that is being built; return the evaluation task.

    This signature is the only list of the pipeline's parameters. The defaults are those of the components.
    """
    training = {
        "preset": preset, "image_size": image_size, "patch": patch, "steps": steps, "precision": precision,
        "seed": seed, "overrides": overrides, "workers": workers, "slots_per_worker": slots_per_worker,
        "launcher": launcher,
    }  # fmt: skip
    raw = ingest(
        source=source,
        category=category,
        ingest_options=ingest_options,
        validation_fraction=validation_fraction,
        fold=fold,
        scale=scale,
        test_time_poses=test_time_poses,
        image_score=image_score,
        target=target,
        cost=cost,
        model_name=model_name,
        deploy=deploy,
        **training,
    ).set_display_name("1 Ingest")
    records = convert(
        raw=raw.outputs["raw"], validation_fraction=validation_fraction, fold=fold, scale=scale
    ).set_display_name("2 Convert")
    model = train(
        records=records.outputs["records"],
        run_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        category=category,
        **training,
    ).set_display_name("3 Train")
    evaluation = evaluate(
        records=records.outputs["records"],
        model=model.outputs["model"],
        test_time_poses=test_time_poses,
        image_score=image_score,
        target=target,
        cost=cost,
    ).set_display_name("4 Evaluate")
    version = register(
        records=records.outputs["records"],
        model=model.outputs["model"],
        evaluation=evaluation.outputs["evaluation"],
        name=model_name,
        deploy=deploy,
    ).set_display_name("5 Register")
    raw.set_caching_options(False)  # the images at the same address may have changed
    model.set_caching_options(False)  # a cached task would not start a training
    resources.configure(raw, records, evaluation, version)
    resources.configure_training(model)
    return evaluation


def _with_task_parameters(
    without: Collection[str] = (),
) -> Callable[[PipelineFunction], PipelineFunction]:
    """Return a decorator that declares the parameters of `_add_category_tasks` in place of `**parameters`.

    KFP reads the parameters from the signature, their descriptions from the docstring, and passes the
    values by position.

    Args:
        without: Parameters that the pipeline sets itself.
    """
    hidden = {"resources", *without}
    shared = [p for p in inspect.signature(_add_category_tasks).parameters.values() if p.name not in hidden]

    def decorate(pipeline: PipelineFunction) -> PipelineFunction:
        own = [p for p in inspect.signature(pipeline).parameters.values() if p.kind is not p.VAR_KEYWORD]
        signature = inspect.Signature([*own, *shared])

        @functools.wraps(pipeline)
        def wrapper(*values: object) -> None:
            pipeline(**signature.bind(*values).arguments)

        wrapper.__doc__ = f"{inspect.getdoc(pipeline)}\n\nArgs:\n{_descriptions(signature.parameters)}"
        wrapper.__signature__ = signature  # type: ignore[attr-defined]
        return wrapper

    return decorate


def _descriptions(names: Collection[str]) -> str:
    """Return the components' descriptions of these parameters, one line each, in the form of a docstring."""
    texts = {name: spec.description for c in COMPONENTS for name, spec in c.component_spec.inputs.items()}
    category = ingest.component_spec.inputs["category"].description
    texts |= {"model_name": texts["name"], "category": category, "categories": CATEGORIES}
    return "\n".join(f"    {name}: {' '.join(texts[name].split())}" for name in names)

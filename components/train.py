"""TFRecords → a trained model, on N Horovod ranks."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.base import component

# What the pipeline sets on this task goes to the MPIJob's workers; its own pod gets the environment as well.
PASSTHROUGHS = [
    dsl.TaskConfigField.RESOURCES,
    dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
    dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
    dsl.TaskConfigField.KUBERNETES_AFFINITY,
    dsl.TaskConfigField.KUBERNETES_VOLUMES,
    dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),
]


@component(task_config_passthroughs=PASSTHROUGHS)
def train(
    records: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    task_config: dsl.TaskConfig,
    run_id: str,
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
) -> None:
    """Train on this machine or, on a cluster, as an MPIJob whose rank 0 writes at the model's own URI.

    Args:
        records: Output of `convert`.
        model: Folder of model.keras, model.json and history.csv.
        metrics: Final losses, validation Dice, throughput, seconds.
        task_config: Resources, placement, volumes and environment for the workers; empty locally.
        run_id: Identity of the pipeline run: a second launch of it resumes the first.
        class_id: DAGM2007 class of the records: one run may train several.
        preset: `fast`, `thorough` or `nvidia`.
        image_size: Side in pixels, a multiple of 16.
        steps: Optimizer steps; 0 is the preset's.
        precision: auto, float32, mixed_float16 or mixed_bfloat16.
        seed: Of weights, order and augmentation.
        overrides: YAML mapping of other training options, e.g. `learning_rate: 0.0005`.
        workers: Worker pods. World size is workers × slots_per_worker and divides the global batch.
        slots_per_worker: Ranks per worker pod.
        launcher: auto (mpijob inside Kubernetes, else local), local or mpijob.
    """
    from tinyunet.core.presets import training_config
    from tinyunet.launch.launch import launch, pipeline_run
    from tinyunet.mpijob.run import exit_with_job_code

    config = training_config(
        preset, image_size=image_size, steps=steps, precision=precision, seed=seed, overrides=overrides
    )
    run = pipeline_run(records.uri, model.uri, config, run_id, class_id, workers * slots_per_worker)
    with exit_with_job_code():
        result = launch(run, slots_per_worker=slots_per_worker, launcher=launcher, task_config=task_config)
    model.metadata.update(preset=preset, mlflow_run_id=result.mlflow.run_id if result.mlflow else "")
    for name, value in result.training:
        metrics.log_metric(name, value)

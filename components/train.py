"""The component that trains a model from TFRecords, on N Horovod ranks."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.base import component

# The workers of the MPIJob receive these settings; the pod of the task receives environment and volumes only.
PASSTHROUGHS = [
    dsl.TaskConfigField.RESOURCES,
    dsl.TaskConfigField.KUBERNETES_TOLERATIONS,
    dsl.TaskConfigField.KUBERNETES_NODE_SELECTOR,
    dsl.TaskConfigField.KUBERNETES_AFFINITY,
    # The pod of the task needs the certificates of a private CA, too.
    dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.KUBERNETES_VOLUMES, apply_to_task=True),
    dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.ENV, apply_to_task=True),
]


@component(task_config_passthroughs=PASSTHROUGHS)
def train(
    records: Input[Dataset],
    model: Output[Model],
    metrics: Output[Metrics],
    task_config: dsl.TaskConfig,
    run_id: str,
    category: str = "",
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
) -> None:
    """Train on this machine or, on a cluster, as an MPIJob whose rank 0 writes the model to its URI.

    Args:
        records: Output of `convert`.
        model: Folder of model.keras, model.json and history.csv.
        metrics: Final losses, validation Dice, throughput and seconds.
        task_config: Resources, placement, volumes and environment of the workers; empty on one machine.
        run_id: Id of the pipeline run. A task that is launched again in the same run resumes the training.
        category: Category of the records; one pipeline run may train several categories.
        preset: `fast`, `thorough` or `nvidia`.
        image_size: Side to which whole images are resized, in pixels, a multiple of 16; 0 uses the preset's
            patches or image size.
        patch: Side of the patches at native resolution, in pixels, a multiple of 16; 0 uses the preset's
            patches or image size.
        steps: Number of optimizer steps; 0 uses that of the preset.
        precision: `auto`, `float32`, `mixed_float16` or `mixed_bfloat16`.
        seed: Seed of the initial weights, of the order of the images and of the augmentation.
        overrides: YAML mapping of other training options, e.g. `learning_rate: 0.0005`.
        workers: Number of worker pods. workers × slots_per_worker is the world size and must divide the
            global batch.
        slots_per_worker: Number of ranks in each worker pod.
        launcher: `auto` (`mpijob` inside Kubernetes, otherwise `local`), `local` or `mpijob`.
    """
    from tinyunet.core.presets import training_config
    from tinyunet.launch.launch import launch, pipeline_run
    from tinyunet.mpijob.run import exit_with_job_code

    sizes = {"image_size": image_size, "patch": patch}
    config = training_config(
        preset, **sizes, steps=steps, precision=precision, seed=seed, overrides=overrides
    )
    run = pipeline_run(records.uri, model.uri, config, run_id, category, workers * slots_per_worker)
    with exit_with_job_code():
        result = launch(run, slots_per_worker=slots_per_worker, launcher=launcher, task_config=task_config)
    model.metadata.update(preset=preset, mlflow_run_id=result.mlflow.run_id if result.mlflow else "")
    for name, value in result.training:
        metrics.log_metric(name, value)

"""The component that registers an evaluated model; the best version has the alias `champion`."""

from typing import NamedTuple

from kfp.dsl import HTML, Artifact, Dataset, Input, Metrics, Model, Output

from components.base import component


@component
def register(
    records: Input[Dataset],
    model: Input[Model],
    evaluation: Input[Artifact],
    decision: Output[Metrics],
    table: Output[HTML],
    name: str = "",
    deploy: bool = False,
) -> NamedTuple("Registered", [("version", str), ("champion", bool), ("reason", str)]):
    """Create a model version and decide whether it gets the alias `champion`.

    Args:
        records: Output of `convert`; their validation images decide whether the version is served in int8.
        model: Output of `train`.
        evaluation: Output of `evaluate`.
        decision: The number of the version, and 1 if it is the champion now, otherwise 0.
        table: The scores of those categories of this run that have been evaluated; absent on one machine.
        name: Name of the registered model; if it is empty, the name is tinyunet-<data set>[-<category>].
        deploy: If the version is the champion, replace the servers of the model in the cluster (make deploy
            SERVE=…) by servers of this version, and wait until they are ready.

    Returns:
        The version, whether it is the champion now, and one sentence: the registered model and the reason.
    """
    from pathlib import Path

    from tinyunet.evaluation.partial import table_so_far
    from tinyunet.mpijob.rollout import roll_out
    from tinyunet.registry.register import register as run

    result = run(Path(model.path), Path(evaluation.path), name=name, records=Path(records.path))
    decision.log_metric("version", int(result.version))
    decision.log_metric("champion", int(result.champion))
    reason = f"{result.name} {result.reason}"
    print(reason)
    if page := table_so_far(evaluation.uri):
        Path(table.path).write_text(page, encoding="utf-8")
    if deploy:
        print(roll_out(result.name, result.version, champion=result.champion))
    return (result.version, result.champion, reason)

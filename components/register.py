"""A judged model → a version in the registry; the alias `champion` goes to the best one."""

from typing import NamedTuple

from kfp.dsl import Artifact, Input, Metrics, Model, Output

from components.base import component


@component
def register(
    model: Input[Model], evaluation: Input[Artifact], decision: Output[Metrics], name: str = ""
) -> NamedTuple("Registered", [("version", str), ("champion", bool), ("reason", str)]):
    """Make a model version and decide on the alias.

    Args:
        model: Output of `train`.
        evaluation: Output of `evaluate`.
        decision: The version, and 1 if it is the champion now.
        name: Registered model; empty is the data's own (tinyunet-dagm-classN).

    Returns:
        Version, whether it is the champion now, and the reason in a sentence.
    """
    from pathlib import Path

    from tinyunet.registry.register import register as run

    result = run(Path(model.path), Path(evaluation.path), name=name)
    decision.log_metric("version", int(result["version"]))
    decision.log_metric("champion", int(result["champion"]))
    print(result["reason"])
    return (str(result["version"]), result["champion"], result["reason"])

"""The component that writes the scores of several categories as one table."""

from typing import List  # noqa: UP035  KFP reads the annotation and accepts only this name

from kfp.dsl import HTML, Artifact, Input, Metrics, Output

from components.base import component


@component
def compare(evaluations: Input[List[Artifact]], means: Output[Metrics], report: Output[HTML]) -> None:  # noqa: UP006
    """Write and print the table; for DAGM2007 it has NVIDIA's published scores.

    Args:
        evaluations: Outputs of `evaluate`, one per category.
        means: Scores on Test, averaged over the categories.
        report: A self-contained page with the table at all thresholds of NVIDIA.
    """
    import shutil
    import tempfile
    from pathlib import Path

    from tinyunet.evaluation import comparison

    with tempfile.TemporaryDirectory() as folder:
        rows = comparison.compare([Path(e.path) for e in evaluations], Path(folder) / "comparison").rows
        shutil.copyfile(Path(folder) / "comparison" / "comparison.html", report.path)
    print("\n".join(comparison.table(rows)))
    for name, value in comparison.means(rows).items():
        if value is not None:
            means.log_metric(name, value)

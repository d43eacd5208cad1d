"""The evaluations of several classes → one table, NVIDIA's published scores beside ours."""

from typing import List  # noqa: UP035  KFP reads the annotation and knows only this name

from kfp.dsl import HTML, Artifact, Input, Metrics, Output

from components.base import component


@component
def compare(evaluations: Input[List[Artifact]], means: Output[Metrics], report: Output[HTML]) -> None:  # noqa: UP006
    """Print the table, and say which rows may be compared with NVIDIA's.

    Args:
        evaluations: Outputs of `evaluate`, one per class.
        means: Scores on Test, averaged over the classes.
        report: The table at all of NVIDIA's thresholds, self-contained.
    """
    import shutil
    import tempfile
    from pathlib import Path

    from tinyunet.evaluation import comparison

    with tempfile.TemporaryDirectory() as folder:
        rows = comparison.compare([Path(e.path) for e in evaluations], Path(folder) / "comparison")
        shutil.copyfile(Path(folder) / "comparison" / "comparison.html", report.path)
    print("\n".join(comparison.table(rows)))
    for name, value in comparison.means(rows).items():
        if value is not None:
            means.log_metric(name, value)

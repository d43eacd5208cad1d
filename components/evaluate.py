"""The component that evaluates a model on TFRecords: scores on Test, curves, report and model card."""

from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

from components.base import component


@component
def evaluate(
    records: Input[Dataset],
    model: Input[Model],
    evaluation: Output[Artifact],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
    report: Output[HTML],
    card: Output[Markdown],
    test_time_poses: int = 1,
    image_score: str = "auto",
    target: str = "",
    cost: str = "",
) -> None:
    """Choose the thresholds on the validation split, and compute the scores on Test.

    Args:
        records: Output of `convert`.
        model: Output of `train`.
        evaluation: Folder of metrics.json, curves, overlays, report.html and model_card.md.
        metrics: Scores on Test, and the thresholds.
        roc: Image-level ROC curve and confusion matrix on Test.
        report: A self-contained page with scores, curves and overlays.
        card: Model card.
        test_time_poses: Number of poses in which every image is evaluated: 1, or all 8 dihedral poses, over
            which the logits are averaged.
        image_score: Score of an image: `max` is its largest logit, `top100` the mean of its 100 largest
            logits, and `smoothed` the largest mean of the logits of 5×5 pixels. `auto` chooses the one that
            separates the validation images best, and `max` for DAGM2007.
        target: Rate that the image threshold must reach on validation, such as `tnr=0.999`; empty for none.
        cost: Costs that the image threshold minimizes on validation, such as `miss=10,stop=1`.
    """
    import shutil
    from pathlib import Path

    from tinyunet.core.config import EvalConfig
    from tinyunet.evaluation.evaluate import evaluate as run
    from tinyunet.evaluation.summary import confusion_matrix, headline, scalars

    folder = Path(evaluation.path)
    config = EvalConfig(test_time_poses=test_time_poses, image_score=image_score, target=target, cost=cost)
    result = run(Path(model.path), Path(records.path), folder, config)
    print(headline(result))
    for name, value in scalars(result).items():
        metrics.log_metric(name, value)
    roc.log_roc_curve(result.curves.roc.fpr, result.curves.roc.tpr, result.curves.roc.threshold)
    roc.log_confusion_matrix(["clean", "defective"], confusion_matrix(result))
    shutil.copyfile(folder / "report.html", report.path)
    shutil.copyfile(folder / "model_card.md", card.path)

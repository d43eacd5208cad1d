"""The commands on trained models: evaluate, compare, register, predict, export."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.cli.options import command, out, pairs, settings
from tinyunet.core.config import EvalConfig
from tinyunet.core.tensorflow_import import import_tensorflow

if TYPE_CHECKING:
    from tinyunet.cli.options import Commands


def evaluate(commands: "Commands") -> None:
    """Add `tinyunet evaluate`."""
    p = command(commands, "evaluate", "judge a model: scores, curves, pictures, report.html", _run_evaluate)
    p.add_argument("model", help="model folder written by train, or models:/NAME@champion")
    p.add_argument("records", type=Path, help="folder of TFRecords")
    out(p, "folder of the evaluation")
    settings(p, EvalConfig)


def _run_evaluate(a: Namespace) -> None:
    import_tensorflow()
    from tinyunet.evaluation.evaluate import evaluate

    metrics = evaluate(_trained(a.model), a.records, a.out, EvalConfig().replace(pairs(a.set)))
    test = metrics["test"]
    for name in ("dice_defective", "iou_defective", "pooled_iou", "image_ap", "image_auroc", "tpr", "tnr"):
        print(f"{name:16} {'not defined' if test[name] is None else format(test[name], '.4f')}")
    print(f"{a.out / 'report.html'}: {metrics['comparability']}")


def _trained(model: str) -> Path:
    """Give the model folder, brought here where it is named as MLflow does."""
    from tinyunet.tracking.download import download_training

    return download_training(model) if model.startswith(("models:/", "runs:/")) else Path(model)


def compare(commands: "Commands") -> None:
    """Add `tinyunet compare`."""
    p = command(commands, "compare", "put several classes beside NVIDIA's table", _run_compare)
    p.add_argument("evaluations", type=Path, nargs="+", help="folders written by evaluate, one per class")
    out(p, "folder of comparison.html, comparison.json and the classes' reports")


def _run_compare(a: Namespace) -> None:
    import_tensorflow()
    from tinyunet.evaluation.comparison import compare, table

    print("\n".join(table(compare(a.evaluations, a.out, reports=True))))
    print(f"{a.out / 'comparison.html'}: at all of NVIDIA's thresholds, with links to the classes' reports")


def register(commands: "Commands") -> None:
    """Add `tinyunet register`."""
    p = command(
        commands, "register", "make an MLflow model version; the better one is champion", _run_register
    )
    p.add_argument("model", help="model folder written by train, or models:/NAME@champion")
    p.add_argument("evaluation", type=Path, help="folder written by evaluate")
    p.add_argument("--name", default="", help="registered model (default: tinyunet-dagm-classN)")


def _run_register(a: Namespace) -> None:
    import_tensorflow()
    from tinyunet.registry.register import register

    result = register(_trained(a.model), a.evaluation, name=a.name)
    print(f"{result['name']} version {result['version']}: {result['reason']}")


def predict(commands: "Commands") -> None:
    """Add `tinyunet predict`."""
    p = command(commands, "predict", "write masks and overlays of images", _run_predict)
    p.add_argument("inputs", type=Path, nargs="+", metavar="FILE|DIR", help="8-bit grey images")
    p.add_argument("--model", required=True, help="model folder, .keras file or models:/NAME@champion")
    out(p, "folder of the masks, overlays and predictions.csv")


def _run_predict(a: Namespace) -> None:
    import_tensorflow()
    from tinyunet.serving.predict import predict

    count, defective = predict(a.model, a.inputs, a.out)
    images = "1 image" if count == 1 else f"{count} images"
    print(f"{a.out}: {images}, {defective} called defective; masks, overlays and predictions.csv")


def export(commands: "Commands") -> None:
    """Add `tinyunet export`."""
    p = command(commands, "export", "write SavedModel, ONNX and int8 ONNX, and compare them", _run_export)
    p.add_argument("model", help="model folder, .keras file or models:/NAME@champion")
    p.add_argument("--records", type=Path, help="folder of TFRecords: makes int8, and measures what it loses")
    out(p, "folder of saved_model/, model.onnx, model-int8.onnx and export.json")


def _run_export(a: Namespace) -> None:
    import_tensorflow()
    from tinyunet.serving.export import export, table

    print("\n".join(table(export(a.model, a.out, a.records))))
    print(f"{a.out}: saved_model/, model.onnx{', model-int8.onnx' if a.records else ''}, export.json")

"""The subcommands that use trained models: evaluate, compare, register, trace, predict, export."""

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from tinyunet.cli.options import (
    PRECISIONS,
    add_command,
    add_out,
    add_settings,
    filled,
    parse_settings,
    path,
)
from tinyunet.core.config import EvalConfig
from tinyunet.core.tensorflow_import import import_tensorflow
from tinyunet.tracking.names import check_model_name

if TYPE_CHECKING:
    from tinyunet.cli.options import Commands

IMAGES = (
    "images or folders of images, in the formats of ingest, with as many bits per channel (8 or 16) as those "
    "of the training; grey and colour are converted"
)


def add_commands(commands: "Commands") -> None:
    """Add the subcommands of this module."""
    for add in (_add_evaluate, _add_compare, _add_register, _add_trace, _add_predict, _add_export):
        add(commands)


def _add_evaluate(commands: "Commands") -> None:
    parser = add_command(
        commands, "evaluate", "evaluate a model: scores, curves, pictures, report.html", _evaluate
    )
    parser.add_argument("model", type=filled, help="model folder written by train, or models:/NAME@champion")
    parser.add_argument("records", type=path, help="folder of TFRecords")
    add_out(parser, "folder of the evaluation")
    for name, example in (("target", "tnr=0.999"), ("cost", "miss=10,stop=1")):
        parser.add_argument(f"--{name}", metavar=example, help=f"short for --set {name}={example}")
    add_settings(parser, EvalConfig)


def _evaluate(arguments: Namespace) -> None:
    import_tensorflow()
    from tinyunet.evaluation.evaluate import evaluate
    from tinyunet.evaluation.summary import line_words

    short = {name: getattr(arguments, name) for name in ("target", "cost")}
    settings = {name: value for name, value in short.items() if value is not None}
    config = EvalConfig().replace(parse_settings(arguments.set) | settings)
    evaluation = evaluate(_model_folder(arguments.model), arguments.records, arguments.out, config)
    for name in ("dice_defective", "iou_defective", "pooled_iou", "image_ap", "image_auroc", "tpr", "tnr"):
        score = getattr(evaluation.test, name)
        print(f"{name:16} {'not defined' if score is None else format(score, '.4f')}")
    if evaluation.factory:
        print(line_words(evaluation.factory))
    print(f"{arguments.out / 'report.html'}: {evaluation.comparability}")


def _model_folder(model: str) -> Path:
    """Return the local folder of a model, downloaded if `model` is an MLflow URI."""
    from tinyunet.tracking.download import download_model_folder

    return download_model_folder(model) if model.startswith(("models:/", "runs:/")) else Path(model)


def _add_compare(commands: "Commands") -> None:
    parser = add_command(
        commands, "compare", "write several classes and NVIDIA's results as one table", _compare
    )
    parser.add_argument(
        "evaluations", type=path, nargs="+", help="folders written by evaluate, one per class"
    )
    add_out(parser, "folder of comparison.html, comparison.json and the classes' reports")


def _compare(arguments: Namespace) -> None:
    import_tensorflow()
    from tinyunet.evaluation.comparison import compare, table

    out = arguments.out
    print("\n".join(table(compare(arguments.evaluations, out, reports=True).rows)))
    print(f"{out / 'comparison.html'}: at all of NVIDIA's thresholds, with links to the classes' reports")


def _add_register(commands: "Commands") -> None:
    parser = add_command(
        commands, "register", "make an MLflow model version; the better one is champion", _register
    )
    parser.add_argument("model", type=filled, help="model folder written by train, or models:/NAME@champion")
    parser.add_argument("evaluation", type=path, help="folder written by evaluate")
    parser.add_argument(
        "--name", default="", help="registered model (default: tinyunet-<data set>[-<category>])"
    )
    parser.add_argument(
        "--records",
        type=path,
        help="TFRecords: keep an int8 network too, if it loses little on validation",
    )


def _register(arguments: Namespace) -> None:
    check_model_name(arguments.name)
    import_tensorflow()
    from tinyunet.registry.register import register

    model = _model_folder(arguments.model)
    result = register(model, arguments.evaluation, name=arguments.name, records=arguments.records)
    print(f"{result.name} version {result.version}: {result.reason}")


def _add_trace(commands: "Commands") -> None:
    parser = add_command(
        commands, "trace", "show the origin of a model version, and verify its hashes", _trace
    )
    parser.add_argument("model", type=filled, help="models:/NAME@champion or models:/NAME/2")
    parser.add_argument("--out", type=path, default=Path("trace"), help="folder (default: trace)")


def _trace(arguments: Namespace) -> int:
    import_tensorflow()
    from tinyunet.studies.trace import PAGE, trace

    result = trace(arguments.model, arguments.out)
    for fact in result.facts:
        note = f" ({fact.note})" if fact.note else ""
        print(f"{fact.status:8} {fact.step:10} {fact.name}: {fact.value or 'not recorded'}{note}")
    wrong = result.wrong()
    print(
        f"{arguments.out / PAGE}: {result.name} version {result.version}; "
        f"{result.count('verified')} verified, {result.count('recorded')} only recorded, "
        f"{len(wrong)} wrong, {len(result.images)} images"
    )
    return int(bool(wrong))


def _add_predict(commands: "Commands") -> None:
    parser = add_command(commands, "predict", "write masks and overlays of images", _predict)
    parser.add_argument("inputs", type=path, nargs="+", metavar="FILE|DIR", help=IMAGES)
    parser.add_argument(
        "--model",
        type=filled,
        required=True,
        help="model folder, .keras file, engine folder or models:/NAME@champion",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="of the computation (default auto: the fastest one that model and CPU have)",
    )
    add_out(parser, "folder of the masks, overlays and predictions.csv")


def _predict(arguments: Namespace) -> None:
    from tinyunet.serving.predict import predict

    count, defective = predict(
        arguments.model, arguments.inputs, arguments.out, precision=arguments.precision
    )
    images = "1 image" if count == 1 else f"{count} images"
    print(f"{arguments.out}: {images}, {defective} called defective; masks, overlays and predictions.csv")


def _add_export(commands: "Commands") -> None:
    parser = add_command(
        commands, "export", "write SavedModel, ONNX and int8 ONNX, and compare them", _export
    )
    parser.add_argument("model", type=filled, help="model folder, .keras file or models:/NAME@champion")
    parser.add_argument(
        "--records", type=path, help="folder of TFRecords: also write int8 ONNX, and measure its loss"
    )
    add_out(parser, "folder of saved_model/, model.onnx, model-int8.onnx and export.json")


def _export(arguments: Namespace) -> None:
    import_tensorflow()
    from tinyunet.serving.export import export, table

    print("\n".join(table(export(arguments.model, arguments.out, arguments.records))))
    int8 = ", model-int8.onnx" if arguments.records else ""
    print(f"{arguments.out}: saved_model/, model.onnx{int8}, export.json")

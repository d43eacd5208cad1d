"""Several classes in one table, NVIDIA's published scores beside ours, and which rows may be compared."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from tinyunet.core.errors import UserError
from tinyunet.core.files import atomic_folder, read_json
from tinyunet.evaluation.links import link_reports, report_name
from tinyunet.evaluation.published import THRESHOLDS, published
from tinyunet.evaluation.report import mean, number, render
from tinyunet.evaluation.results import SCHEMA_VERSION

HEADLINE = 0.99  # the threshold that NVIDIA's own headline takes
MEANS = ("dice_defective", "iou_defective", "image_ap", "image_auroc", "tpr", "tnr")


@dataclass(frozen=True)
class Scores:
    """NVIDIA's three numbers at one threshold; None where nothing defines them.

    Attributes:
        iou: Mean Dice over all test images, which NVIDIA calls IoU.
        tpr: Defective images with a pixel above the threshold, as a part of 1.
        tnr: Clean images without one.
    """

    iou: float | None
    tpr: float | None
    tnr: float | None


@dataclass(frozen=True)
class Row:
    """One class.

    Attributes:
        class_id: DAGM2007 class.
        data: `official`, `part or re-split` or `synthetic`.
        image_size: Side in pixels at which masks were compared.
        comparable: Whether NVIDIA's numbers may stand beside ours.
        ours: Scores at our own thresholds, chosen on validation.
        floor: What predicting nothing gives for NVIDIA's IoU.
        at: Ours at NVIDIA's thresholds.
        float32: NVIDIA's scores by threshold, trained in float32.
        amp: NVIDIA's scores by threshold, trained in mixed precision.
        dice: NVIDIA's Dice of defective images, implied, at 0.99: float32, AMP.
    """

    class_id: int
    data: str
    image_size: int
    comparable: bool
    ours: dict[str, float | None]
    floor: float
    at: dict[float, Scores]
    float32: dict[float, Scores]
    amp: dict[float, Scores]
    dice: tuple[float, float]


def compare(evaluations: Sequence[Path], out: Path, *, reports: bool = False) -> list[Row]:
    """Write comparison.json and comparison.html, and give their rows in the order of the classes.

    Args:
        evaluations: Folders written by `evaluate`, at most one per class.
        out: Folder to make.
        reports: Whether copies of the classes' reports lie beside the table, which links to them.

    Raises:
        UserError: if there is none, one is no evaluation, or two are of the same class.
    """
    if not evaluations:
        raise UserError("there is nothing to compare; expected the evaluation of at least one class")
    read = sorted(((read_row(folder), folder) for folder in evaluations), key=lambda pair: pair[0].class_id)
    rows = [row for row, _ in read]
    for one, other in pairwise(rows):
        if one.class_id == other.class_id:
            raise UserError(f"class {one.class_id} is given twice; expected one evaluation per class")
    with atomic_folder(out, marker="comparison.json") as part:
        content = {"rows": [asdict(row) for row in rows], "means": means(rows), "notice": notice(rows)}
        (part / "comparison.json").write_text(json.dumps(content, indent=2) + "\n")
        page = render("comparison.html", rows=rows, groups=groups(rows), notice=notice(rows))
        for row, folder in read if reports else ():
            if (folder / "report.html").is_file():
                shutil.copyfile(folder / "report.html", part / report_name(row.class_id))
        (part / "comparison.html").write_text(link_reports(page, part), encoding="utf-8")
    return rows


def read_row(folder: Path) -> Row:
    """Read one class from the folder of its evaluation.

    Raises:
        UserError: if it is none.
    """
    path = folder / "metrics.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no metrics.json; expected a folder that `tinyunet evaluate` made")
    result = read_json(path)
    if result.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path} has another schema; expected version {SCHEMA_VERSION}: evaluate the model again"
        )
    data, theirs = result["data"], published(result["data"]["class_id"])
    kind = "synthetic" if data["synthetic"] else "official" if data["complete"] else "part or re-split"
    return Row(
        class_id=data["class_id"],
        data=kind,
        image_size=result["image_size"],
        comparable=result["comparable"],
        ours={key: result["test"][key] for key in MEANS},
        floor=result["test"]["nvidia_iou_floor"],
        at={threshold: _ours(result, threshold) for threshold in THRESHOLDS},
        float32=_theirs(theirs["float32"]),
        amp=_theirs(theirs["amp"]),
        dice=(theirs["float32"]["dice_defective"][-1], theirs["amp"]["dice_defective"][-1]),
    )


def means(rows: Sequence[Row]) -> dict[str, float | None]:
    """Average our scores over the classes; None where a class has none."""
    found = {key: mean(row.ours[key] for row in rows) for key in MEANS}
    return found | {f"nvidia_iou_{HEADLINE}": mean(row.at[HEADLINE].iou for row in rows)}


def groups(rows: Sequence[Row]) -> list[tuple[str, Sequence[Row]]]:
    """Give what a mean is taken over: all rows, and the comparable ones where they are only some."""
    comparable = [row for row in rows if row.comparable]
    some = [("mean, comparable", comparable)] if 0 < len(comparable) < len(rows) else []
    return [("mean", rows), *some]


def notice(rows: Sequence[Row]) -> str:
    """Say which rows may be compared with NVIDIA's, and why the others may not."""
    official = [str(row.class_id) for row in rows if row.comparable]
    others: dict[str, list[str]] = {}
    for row in rows:
        if not row.comparable:
            others.setdefault(f"{row.data}, {row.image_size} px", []).append(str(row.class_id))
    said = []
    if official:
        said.append(f"Official data at 512×512, comparable with NVIDIA's: class {', '.join(official)}.")
    if others:
        named = "; class ".join(f"{', '.join(classes)} ({why})" for why, classes in others.items())
        said.append(f"Not comparable, NVIDIA's numbers for orientation only: class {named}.")
    return " ".join(said)


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Give the table's lines for a terminal: scores at 0.99, those of NVIDIA's AMP runs in brackets."""
    yield f"Test, in brackets NVIDIA's AMP runs; IoU (a Dice over all images), TPR and TNR at {HEADLINE}"
    yield (
        f"{'class':22}{'data':17}{'px':>4}  "
        f"{'Dice, defective':17}{'IoU':15}{'floor':7}{'TPR':15}{'TNR':15}image AP"
    )
    for row in rows:
        yield _line(str(row.class_id), row.data, str(row.image_size), [row])
    for name, members in groups(rows):
        yield _line(f"{name} ({len(members)})", "", "", members)
    yield notice(rows)


def _line(name: str, data: str, size: str, rows: Sequence[Row]) -> str:
    def both(key: str) -> str:
        ours, theirs = (
            mean(getattr(getattr(row, source)[HEADLINE], key) for row in rows) for source in ("at", "amp")
        )
        return f"{number(ours)} ({number(theirs)})"

    dice = f"{number(mean(r.ours['dice_defective'] for r in rows))} ({number(mean(r.dice[1] for r in rows))})"
    floor, ap = number(mean(r.floor for r in rows)), number(mean(r.ours["image_ap"] for r in rows))
    scores = f"{dice:17}{both('iou'):15}{floor:7}{both('tpr'):15}{both('tnr'):15}{ap}"
    return f"{name:22}{data:17}{size:>4}  {scores}"


def _ours(result: Mapping[str, Any], threshold: float) -> Scores:
    """Score at a probability; images by their largest logit, so that a saturated one keeps its rank."""
    images, logit = result["images"], math.log(threshold / (1 - threshold))
    known = result["image_score"] == "max"
    flagged = {
        kind: [row["score"] > logit for row in images if row["defective"] is kind] if known else []
        for kind in (True, False)
    }
    tpr, false = (fmean(found) if found else None for found in (flagged[True], flagged[False]))
    tnr = None if false is None else 1 - false
    return Scores(result["test"]["nvidia_iou"][str(threshold)], tpr, tnr)


def _theirs(scores: Mapping[str, Sequence[float]]) -> dict[float, Scores]:
    rows = zip(scores["iou"], scores["tpr"], scores["tnr"], strict=True)
    return {threshold: Scores(*row) for threshold, row in zip(THRESHOLDS, rows, strict=True)}

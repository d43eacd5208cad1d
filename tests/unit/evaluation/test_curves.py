"""Points and drawings of the curves."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from tests.unit.evaluation.splits import four_images, two_images
from tests.unit.examples import evaluation, scores
from tinyunet.core.documents.curves import PrCurve
from tinyunet.core.documents.evaluation import ConfusionCounts
from tinyunet.evaluation import curves


def figure() -> Figure:
    drawn = Figure()
    drawn.add_subplot().plot([0, 1], [0, 1], color=curves.BLUE)
    return drawn


def test_curves_end_where_all_images_and_where_no_image_is_flagged() -> None:
    points = curves.curve_points(four_images([-3, 3, 2, 4]))
    assert (points.roc.fpr[0], points.roc.tpr[0]) == (0, 0)
    assert (points.roc.fpr[-1], points.roc.tpr[-1]) == (1, 1)
    assert (points.pr.recall[0], points.pr.precision[-1]) == (1, 1)
    for _, curve in points:
        columns = [values for _, values in curve]
        assert len({len(values) for values in columns}) == 1
        assert len(columns[0]) <= curves.MAX_POINTS
        assert np.isfinite(columns).all()


@pytest.mark.parametrize(("defective", "defined"), [(True, {"pr", "dice_vs_threshold"}), (False, set())])
def test_a_curve_that_the_images_do_not_define_has_no_points(defective: bool, defined: set[str]) -> None:
    points = curves.curve_points(two_images(defective=defective))
    assert {name for name, curve in points if curve.threshold} == defined


def test_a_curve_without_points_is_not_drawn() -> None:
    result = evaluation()
    assert curves.draw(result.curves, {}, threshold=0.5, scores=result.test) == {}


def test_the_area_under_the_drawn_precision_is_the_average_precision() -> None:
    pr = PrCurve(recall=(1.0, 0.5, 0.5, 0.0), precision=(0.5, 1 / 3, 1.0, 1.0), threshold=(0.0,) * 4)
    test = scores(image=ConfusionCounts(tp=1, fp=0, fn=1, tn=0))
    points = evaluation().curves.model_copy(update={"pr": pr})
    figures = curves.draw(points, {}, threshold=0.5, scores=test)
    line = figures["pr"].axes[0].lines[0]
    recall, precision = np.asarray(line.get_xydata()).T
    assert line.get_drawstyle() == "steps-post"
    assert np.sum(-np.diff(recall) * precision[:-1]) == pytest.approx(0.5 * 0.5 + 0.5 * 1.0)


def test_the_svg_of_a_figure_has_the_text_colour_of_the_page_and_its_own_ids() -> None:
    svg = curves.to_svg("pr", figure())
    assert svg.startswith('<svg role="img" aria-label="Precision and recall of images"')
    assert curves.INK not in svg
    assert curves.BLUE in svg
    assert svg == curves.to_svg("pr", figure())
    ids, other_ids = (set(re.findall(r'id="([^"]+)"', curves.to_svg(n, figure()))) for n in ("pr", "roc"))
    assert not ids & other_ids


def test_the_history_has_only_the_measured_values(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    assert curves.read_history(path) == {}
    path.write_text("step,loss,validation_dice\n1,0.5,\n2,0.25,0.75\n")
    assert curves.read_history(path) == {"loss": [(1, 0.5), (2, 0.25)], "validation_dice": [(2, 0.75)]}

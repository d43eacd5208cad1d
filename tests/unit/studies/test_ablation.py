"""The ablation: its table with numbers computed by hand, and the complete command on a tiny class."""

import json
from pathlib import Path

import pytest

from tinyunet.cli.main import main
from tinyunet.core.config import EvalConfig
from tinyunet.core.documents.base import Options
from tinyunet.core.presets import FAST, NVIDIA
from tinyunet.studies import ablation
from tinyunet.studies.ablation import BASE, EVALUATIONS, PUBLISHED, ROWS, Row, Study, format_row


def test_a_row_shows_mean_deviation_and_mean_difference() -> None:
    rows = {
        BASE: Row(changes={}, dice=[0.7, 0.8], ap=[1.0, 0.9], curves=[]),
        "no warm-up": Row(changes={"warmup_steps": 0}, dice=[0.6, 0.8], ap=[1.0, 1.0], curves=[]),
    }
    assert format_row(BASE, rows) == f"| {BASE} |  | 0.750 ± 0.071 | +0.000 | 0.950 ± 0.071 |"
    assert format_row("no warm-up", rows) == (
        "| no warm-up | `warmup_steps=0` | 0.700 ± 0.141 | -0.050 | 1.000 ± 0.000 |"
    )


@pytest.mark.parametrize("row", list(ROWS))
def test_every_row_is_the_preset_with_one_change(row: str, tmp_path: Path) -> None:
    config = Study(tmp_path, 128, 3).configuration(row, 2)
    free = {"validate_every", "image_size", "patch", "seed"}
    changed = {k for k, v in config.to_dict().items() if v != getattr(FAST, k)} - free
    assert changed == set(ROWS[row])
    assert (config.seed, config.steps) == (2, FAST.steps)


@pytest.mark.parametrize("options", EVALUATIONS.values(), ids=EVALUATIONS)
def test_every_evaluation_has_one_option_of_an_evaluation(options: Options) -> None:
    ((name, value),) = options.items()
    assert getattr(EvalConfig().replace(options), name) == value != getattr(EvalConfig(), name)


def test_the_published_recipe_runs_all_its_steps(tmp_path: Path) -> None:
    assert Study(tmp_path, 128, 3).configuration(PUBLISHED, 0).steps == NVIDIA.steps == 2500


def test_the_command_trains_on_every_fold_and_writes_table_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], trainings_here: None
) -> None:
    monkeypatch.chdir(tmp_path)
    smoothed = {"image score: largest mean of 5×5 logits": {"image_score": "smoothed"}}
    monkeypatch.setattr(ablation, "EVALUATIONS", smoothed)
    monkeypatch.setattr(ablation, "ROWS", {BASE: {"steps": 2, "validate_every": 1, "global_batch": 4}})
    source = "synthetic://?train=24&test=16&size=32&seed=7"
    command = ["ablation", source, "--seeds", "2", "--image-size", "32"]
    assert main([*command, "--out", "study"]) == 0
    rows = json.loads((tmp_path / "study" / "ablation.json").read_text())
    assert len(rows[BASE]["dice"]) == 2
    assert [point["step"] for point in rows[BASE]["curves"][0]] == [1.0, 2.0]
    assert all(len(rows[row]["ap"]) == 2 for row in ablation.EVALUATIONS)
    study = Study((tmp_path / "study").absolute(), 32, 2)
    scores = ablation.evaluate_again(study.model(BASE, 1), study.folder / "records1", {})
    assert scores == pytest.approx([rows[BASE][name][1] for name in ("dice", "ap")]), "scores of the training"
    assert "<svg" in (tmp_path / "study" / "learning.svg").read_text()
    before = (tmp_path / "study" / "ablation.md").read_text()
    assert "step 1/" in capsys.readouterr().out
    assert main([*command, "--out", "study"]) == 0
    assert "step 1/" not in capsys.readouterr().out, "no model is trained twice"
    assert (tmp_path / "study" / "ablation.md").read_text() == before


def test_rows_and_the_number_of_steps_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    studies: list[Study] = []
    monkeypatch.setattr(ablation, "prepare", lambda source, category, study: studies.append(study))
    monkeypatch.setattr(ablation, "measure_rows", lambda study: {})
    monkeypatch.setattr(ablation, "draw_curves", lambda rows, path: None)
    monkeypatch.chdir(tmp_path)
    command = ["ablation", "synthetic://", "--steps", "40"]
    assert (
        main([*command, "--row", "no warm-up", "--row", "loss of the published recipe"]) == main(command) == 0
    )
    selection, default = studies
    assert selection.rows() == [(BASE, 3), ("no warm-up", 3), ("loss of the published recipe", 3)]
    assert [row for row, _ in default.rows()] == list(ROWS)
    assert selection.folder == tmp_path / "runs" / "ablation-all-128px-40steps"
    config = selection.configuration("no warm-up", 1)
    assert (config.steps, config.warmup_steps, config.loss) == (40, 0, FAST.loss)


def test_a_wrong_number_of_steps_is_reported_and_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablation", "synthetic://", "--out", str(tmp_path / "study"), "--steps", "0"]) == 2
    assert "steps is 0; expected at least 1" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_missing_source_is_reported_and_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablation", str(tmp_path / "nowhere"), "--out", str(tmp_path / "study")]) == 2
    assert "does not exist" in capsys.readouterr().err

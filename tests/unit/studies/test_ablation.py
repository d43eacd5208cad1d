"""The ablation: its table by hand, and the whole command on a tiny class."""

import json
from pathlib import Path

import pytest

from tinyunet.cli.main import main
from tinyunet.core.presets import FAST, NVIDIA
from tinyunet.studies import ablation
from tinyunet.studies.ablation import BASE, PUBLISHED, ROWS, Study, line


def test_a_row_is_mean_deviation_and_the_mean_of_the_differences() -> None:
    result = {
        BASE: {"changes": {}, "dice": [0.7, 0.8], "ap": [1.0, 0.9]},
        "no warm-up": {"changes": {"warmup_steps": 0}, "dice": [0.6, 0.8], "ap": [1.0, 1.0]},
    }
    assert line(BASE, result) == f"| {BASE} |  | 0.750 ± 0.071 | +0.000 | 0.950 ± 0.071 |"
    assert line("no warm-up", result) == (
        "| no warm-up | `warmup_steps=0` | 0.700 ± 0.141 | -0.050 | 1.000 ± 0.000 |"
    )


@pytest.mark.parametrize("row", list(ROWS))
def test_every_row_is_the_preset_with_one_change(row: str, tmp_path: Path) -> None:
    config = Study(tmp_path, 128, 3).configuration(row, 2)
    free = {"validate_every", "image_size", "seed"}
    changed = {k for k, v in config.to_dict().items() if v != getattr(FAST, k)} - free
    assert changed == set(ROWS[row])
    assert (config.seed, config.steps) == (2, FAST.steps)


def test_the_published_recipe_takes_all_its_steps(tmp_path: Path) -> None:
    assert Study(tmp_path, 128, 3).configuration(PUBLISHED, 0).steps == NVIDIA.steps == 2500


def test_the_command_trains_every_fold_and_writes_table_and_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablation, "ROWS", {BASE: {"steps": 4, "validate_every": 2, "global_batch": 4}})
    source = "synthetic://?train=24&test=16&size=64&seed=7"
    command = ["ablation", source, "--seeds", "2", "--image-size", "32"]
    assert main([*command, "--out", "study"]) == 0
    rows = json.loads((tmp_path / "study" / "ablation.json").read_text())
    assert len(rows[BASE]["dice"]) == 2
    assert [point["step"] for point in rows[BASE]["curves"][0]] == [2.0, 4.0]
    assert all(len(rows[row]["ap"]) == 2 for row in ablation.JUDGED)
    study = Study((tmp_path / "study").absolute(), 32, 2)
    judged = ablation.rejudge(study.model(BASE, 1), study.folder / "records1", {})
    assert judged == pytest.approx({name: rows[BASE][name][1] for name in ("dice", "ap")}), "as training did"
    assert "<svg" in (tmp_path / "study" / "learning.svg").read_text()
    before = (tmp_path / "study" / "ablation.md").read_text()
    capfd.readouterr()
    assert main([*command, "--out", "study"]) == 0
    assert "step 1/" not in capfd.readouterr().out, "nothing is trained twice"
    assert (tmp_path / "study" / "ablation.md").read_text() == before


def test_rows_may_be_chosen_and_shortened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Study] = []
    monkeypatch.setattr(ablation, "prepare", lambda source, class_id, study: asked.append(study))
    monkeypatch.setattr(ablation, "measure", lambda study: {})
    monkeypatch.setattr(ablation, "draw", lambda result, path: None)
    monkeypatch.chdir(tmp_path)
    command = ["ablation", "synthetic://", "--steps", "40"]
    assert main([*command, "--row", "no warm-up", "--row", "published loss"]) == main(command) == 0
    some, every = asked
    assert some.rows() == [(BASE, 3), ("no warm-up", 3), ("published loss", 3)]
    assert [row for row, _ in every.rows()] == list(ROWS)
    assert some.folder == tmp_path / "runs" / "ablation-class1-128px-40steps", "no other table's place"
    config = some.configuration("no warm-up", 1)
    assert (config.steps, config.warmup_steps, config.loss) == (40, 0, FAST.loss)


def test_a_bad_number_of_steps_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["ablation", "synthetic://", "--out", str(tmp_path / "study"), "--steps", "0"]) == 2
    assert "steps is 0; expected at least 1" in capsys.readouterr().err
    assert not (tmp_path / "study").exists()


def test_a_bad_source_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ablation", str(tmp_path / "nowhere"), "--out", str(tmp_path / "study")]) == 2
    assert "does not exist" in capsys.readouterr().err

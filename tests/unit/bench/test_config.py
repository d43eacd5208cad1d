"""Configuration of `tinyunet bench`, and the messages about wrong options."""

import sys
from pathlib import Path

import pytest

from tinyunet.__main__ import main
from tinyunet.bench.config import GROUPS, BenchConfig


def test_only_selects_groups_and_their_order_does_not_change() -> None:
    assert BenchConfig().groups() == GROUPS
    assert BenchConfig(only="memory, train").groups() == ("train", "memory")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "train,trian"], "group is 'trian'; expected one of train, predict, input"),
        (["--only", "train,"], "group is ''"),
        (["--image-size", "100"], "multiple of 16"),
        (["--rounds", "0"], "rounds is 0; expected at least 1"),
        (["--seconds", "-1"], "seconds is -1.0; expected at least 0"),
        (["--ranks", "3"], "ranks is 3; expected a divisor of the global batch 16"),
        (["--out", "."], "--out"),
    ],
)
def test_a_wrong_option_prints_one_line_and_exits_with_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tinyunet", "bench", *arguments])
    assert main() == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert message in lines[0]
    assert list(tmp_path.iterdir()) == []

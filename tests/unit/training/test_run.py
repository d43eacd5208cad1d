"""The description of a training: its arguments for the ranks, its identity and its defaults."""

from pathlib import Path

import pytest

from tinyunet.cli.main import parse
from tinyunet.cli.training import training_run
from tinyunet.core.errors import UserError
from tinyunet.core.presets import FAST, NVIDIA
from tinyunet.training.run import TrainingRun, check_shares, default_run_key

RUNS = {
    "defaults": TrainingRun(records="records", out="model"),
    "everything": TrainingRun(
        records="s3://bucket/records",
        out="s3://bucket/model",
        config=NVIDIA.replace({"steps": 7, "learning_rate": 2.5e-5, "deterministic": True}),
        run_key="class3-run",
        category="class3",
        checkpoints="s3://bucket/checkpoints",
        keep_checkpoints=True,
        lease=300,
    ),
}


@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_the_command_line_reads_the_arguments_of_a_rank_as_the_same_training(run: TrainingRun) -> None:
    read = training_run(parse(run.arguments()))
    assert read == run
    assert read.arguments() == run.arguments()


def test_the_arguments_of_a_rank_name_only_what_differs_from_the_preset() -> None:
    assert RUNS["everything"].arguments() == [
        *("train", "s3://bucket/records", "--out", "s3://bucket/model", "--category", "class3"),
        *("--run-key", "class3-run", "--preset", "nvidia", "--checkpoints", "s3://bucket/checkpoints"),
        *("--keep-checkpoints", "--lease", "300"),
        *("--set", "steps=7", "--set", "deterministic=True", "--set", "learning_rate=2.5e-05"),
    ]


def test_checkpoints_are_by_default_beside_the_model() -> None:
    assert TrainingRun(records="r", out="s3://b/model/").checkpoint_location == "s3://b/model.checkpoints"
    assert RUNS["everything"].checkpoint_location == "s3://bucket/checkpoints"


@pytest.mark.parametrize(("out", "lease"), [("model", 60), ("s3://bucket/model", -1)])
def test_a_lease_needs_checkpoints_on_s3(out: str, lease: int) -> None:
    with pytest.raises(UserError, match=f"lease is {lease}; expected 0, or seconds for a training with"):
        TrainingRun(records="r", out=out, lease=lease)


def test_the_default_run_key_is_the_name_and_a_digest_of_the_location(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    key = default_run_key("My Model_1")
    assert (
        key
        == default_run_key(str(tmp_path / "My Model_1"))
        == TrainingRun(records="r", out="My Model_1").run_key
    )
    assert key.startswith("my-model-1-")
    assert len(key) == len("my-model-1-") + 8
    assert default_run_key("s3://a/model") != default_run_key("s3://b/model")


def test_the_identity_is_the_configuration_without_options_that_change_no_result() -> None:
    run = TrainingRun(records="r", out="m", config=FAST.replace({"checkpoint_every": 7, "accumulate": 2}))
    identity = run.identity("abc")
    assert identity == TrainingRun(records="other", out="other").identity("abc")
    assert identity["data"] == "abc"
    assert "checkpoint_every" not in identity


@pytest.mark.parametrize(
    ("recorded", "data", "message"),
    [
        (FAST.replace({"seed": 1}), "abc", "here holds a training with seed=1, expected 0; choose another"),
        (FAST, "def", "here holds a training with data='def', expected 'abc'; choose another --out"),
    ],
)
def test_another_training_is_an_error(recorded: object, data: str, message: str) -> None:
    run = TrainingRun(records="r", out="m")
    other = TrainingRun(records="r", out="m", config=recorded)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message):
        run.require_same(other.identity(data), "abc", "here")


def test_an_option_that_the_record_lacks_had_the_value_of_the_preset() -> None:
    run = TrainingRun(records="r", out="m", config=NVIDIA)
    older = {name: value for name, value in run.identity("abc").items() if name != "weight_decay"}
    run.require_same(older, "abc", "here")
    with pytest.raises(UserError, match=r"weight_decay=1e-05, expected 0\.1"):
        TrainingRun(records="r", out="m", config=NVIDIA.replace({"weight_decay": 0.1})).require_same(
            older, "abc", "here"
        )


@pytest.mark.parametrize(
    ("accumulate", "ranks", "message"),
    [(4, 8, "accumulate is 4; expected a divisor of a rank's 2 images"), (1, 3, "ranks is 3; expected")],
)
def test_parts_of_the_batch_that_are_not_equal_are_an_error(
    accumulate: int, ranks: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_shares(FAST.replace({"accumulate": accumulate}), ranks)

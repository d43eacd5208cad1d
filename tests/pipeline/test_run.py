"""Runs on Kubeflow: typed parameters, following until the run ends, and exit codes."""

from pathlib import Path

import pytest
from fake_kfp import FakeKfp, recorded

from pipeline import run

pytestmark = pytest.mark.usefixtures("no_kubeflow")


def start(kfp: FakeKfp, *arguments: str) -> int:
    return run.main(["--host", kfp.host, "--poll", "0.01", *arguments])


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([None, "PENDING", "RUNNING", "SUCCEEDED"], 0),
        (["RUNNING", "FAILED"], 1),
        (["RUNNING", "CANCELING", "CANCELED"], 1),
        (["SKIPPED"], 1),
    ],
)
def test_a_run_is_followed_to_any_terminal_state(kfp: FakeKfp, states: list[str | None], code: int) -> None:
    polls = len(states) + (states[-1] == "FAILED")  # the states of the tasks come a poll later
    kfp.states = states
    assert start(kfp) == code
    assert kfp.log.count("GET /apis/v2beta1/runs/r1") == polls


def test_the_url_of_the_run_is_printed(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(kfp) == 0
    assert f"{kfp.host}/#/runs/details/r1" in capsys.readouterr().out


def test_in_a_pod_the_run_id_is_printed_without_a_url(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr("pipeline.kubeflow.IN_CLUSTER", kfp.host)
    assert run.main(["--no-follow"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[-1] for line in lines] == ["uploaded", "started"]
    assert "run r1" in lines[-1]


def test_a_run_that_was_started_is_followed_in_the_same_way(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.polls = [recorded("run-succeeded.json")]
    assert run.main(["--host", kfp.host, "--poll", "0.01"]) == 0
    assert "3 Train: succeeded in 2 min 18 s" in capsys.readouterr().err


def test_following_continues_while_the_api_server_restarts(kfp: FakeKfp) -> None:
    kfp.failures = [503, 502, 500]
    assert start(kfp) == 0


def test_an_expired_session_ends_the_command_with_one_line(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.failures = [401]
    assert start(kfp) == 2
    assert "KFP_TOKEN" in capsys.readouterr().err.splitlines()[-1]


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_while_following_reports_that_the_run_continues(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", interrupt)
    assert start(kfp) == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "tinyunet: stopped following; the run continues; make pipeline-follow RUN=r1 follows it again"
    )
    assert len(kfp.runs) == 1


def test_ctrl_c_before_the_start_reports_no_run(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfp.Client.upload_pipeline", interrupt)
    assert start(kfp) == 130
    assert capsys.readouterr().err == "tinyunet: interrupted\n"
    assert kfp.runs == []


def test_a_run_on_kubeflow_does_not_need_what_is_missing_on_this_machine(
    kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    params = ("--param", "source=/mnt/DAGM2007", "--param", "workers=2", "--param", "overrides=steps: 9")
    assert start(kfp, "--no-follow", *params) == 0


def test_a_source_on_this_machine_is_noted(
    kfp: FakeKfp, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start(kfp, "--no-follow", "--param", f"source={tmp_path}") == 0
    assert (
        f"source is {tmp_path}, a folder of this machine; pods have it only in a volume"
        in capsys.readouterr().err
    )


def test_the_pipeline_for_several_classes_has_a_list_parameter(kfp: FakeKfp) -> None:
    assert start(kfp, "--pipeline", "tinyunet-classes", "--param", "categories=[1, 3]") == 0
    assert kfp.runs[0]["runtime_config"]["parameters"] == {"categories": ["1", "3"]}
    assert kfp.pipelines[0]["display_name"] == "tinyunet-classes"
    assert kfp.runs[0]["display_name"].startswith("tinyunet-classes 2")


def test_no_follow_does_not_poll_the_run(kfp: FakeKfp) -> None:
    assert start(kfp, "--no-follow") == 0
    assert "GET /apis/v2beta1/runs/r1" not in kfp.log


def test_the_run_uses_the_uploaded_version_and_typed_parameters(kfp: FakeKfp) -> None:
    start(kfp, "--param", "workers=4", "--param", "validation_fraction=0.2", "--param", "preset=nvidia")
    (created,) = kfp.runs
    assert created["runtime_config"]["parameters"] == {
        "workers": 4,
        "validation_fraction": 0.2,
        "preset": "nvidia",
    }
    assert created["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v2"}
    assert created["experiment_id"] == "e1"


def test_the_experiment_is_created_once_in_its_namespace(kfp: FakeKfp) -> None:
    kfp.namespaces = ("anna",)
    for _ in range(2):
        kfp.states = ["SUCCEEDED"]
        assert start(kfp, "--namespace", "anna") == 0
    assert [(e["display_name"], e["namespace"]) for e in kfp.experiments] == [("tinyunet", "anna")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--param", "workers=many"], "NUMBER_INTEGER"),
        (["--param", "worker=2"], "KEY one of: category"),
        (["--param", "workers"], "KEY=VALUE"),
        *(
            (["--pipeline", "tinyunet-classes", "--param", f"categories={text}"], "categories, each once")
            for text in ("1,2", "[]", "[1,1]", '["1",1]', "[true]", "3")
        ),
        (["--pipeline", "tinyunet-all"], "expected one of: tinyunet, tinyunet-classes"),
        *(
            (["--param", pair], f"tinyunet: error: {expected}")
            for pair, expected in (
                ("preset=nvidea", "unknown preset 'nvidea'; expected one of: fast, nvidia, thorough"),
                ("image_size=100", "image_size is 100; expected a multiple of 16"),
                ("category=11", "category is '11'; expected class1 to class10"),
                ("launcher=slurm", "launcher is 'slurm'; expected one of auto, local, mpijob"),
                ("overrides=learning_rat: 1", "unknown TrainConfig key 'learning_rat'"),
                ("workers=3", "ranks is 3; expected a divisor of the global batch 16"),
                ("fold=9", "fold is 9; expected 0 to 5"),
                ("image_score=mean", "image_score is 'mean'; expected one of auto, max"),
                ("source=ftp://host/DAGM", "ftp://host/DAGM is a ftp URL; expected a folder"),
            )
        ),
        (["--param", "workers=2", "--param", "overrides=accumulate: 16"], "a divisor of a rank's 8 images"),
        (["--pipeline", "tinyunet-classes", "--param", "image_size=100"], "image_size is 100"),
        (["--cron", "0 0 3 * * *", "--param", "image_size=100"], "image_size is 100"),
        (["--cron", "0 3 * * *"], "6 fields"),
        (["--cron", ""], "6 fields"),
    ],
)
def test_bad_input_is_found_before_any_request(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert start(kfp, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert kfp.log == []

"""Running and scheduling on Kubeflow: typed parameters, followed to any end, with the right exit code."""

import pytest
from fake_kfp import FakeKfp

from pipeline import run

pytestmark = pytest.mark.usefixtures("stranger")


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
    looks = len(states)
    kfp.states = states
    assert start(kfp) == code
    assert kfp.log.count("GET /apis/v2beta1/runs/r1") == looks


def test_the_address_is_printed_before_the_end(kfp: FakeKfp, capsys: pytest.CaptureFixture[str]) -> None:
    assert start(kfp) == 0
    assert f"{kfp.host}/#/runs/details/r1" in capsys.readouterr().out


def test_in_a_pod_the_run_is_named_without_an_address(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr("pipeline.kubeflow.IN_CLUSTER", kfp.host)
    assert run.main(["--no-follow"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[-1] for line in lines] == ["uploaded", "started"]
    assert "run r1" in lines[-1]


def test_a_failed_run_gives_the_servers_reason_in_one_line(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.states = ["FAILED"]
    assert start(kfp) == 1
    assert "tinyunet: error: run r1 ended as FAILED: step train failed" in capsys.readouterr().err


def test_a_restarting_api_server_does_not_end_the_following(kfp: FakeKfp) -> None:
    kfp.failures = [503, 502, 500]
    assert start(kfp) == 0


def test_an_expired_session_ends_the_following_with_one_line(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    kfp.failures = [401]
    assert start(kfp) == 2
    assert "KFP_TOKEN" in capsys.readouterr().err.splitlines()[-1]


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_ctrl_c_while_following_says_that_the_run_goes_on(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", interrupt)
    assert start(kfp) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "tinyunet: stopped following; the run goes on"
    assert len(kfp.runs) == 1


def test_ctrl_c_before_the_start_says_nothing_of_a_run(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kfp.Client.upload_pipeline", interrupt)
    assert start(kfp) == 130
    assert capsys.readouterr().err == "tinyunet: interrupted\n"
    assert kfp.runs == []


def test_a_task_of_every_class_is_shown_by_its_own_state(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str]
) -> None:
    def tasks(*states: str) -> list[dict[str, str]]:
        names = enumerate(zip(("root", "3 Train", "3 Train"), states, strict=True))
        return [{"task_id": str(n), "display_name": name, "state": state} for n, (name, state) in names]

    kfp.states = ["RUNNING", "RUNNING", "FAILED"]
    kfp.tasks = [
        tasks("RUNNING", "RUNNING", "RUNNING"),
        tasks("RUNNING", "RUNNING", "FAILED"),
        tasks("FAILED", "SUCCEEDED", "FAILED"),
    ]
    assert start(kfp) == 1
    lines = [line.split("  ")[1] for line in capsys.readouterr().err.splitlines() if ":" in line[:3]]
    assert lines == [
        "root: RUNNING", "3 Train: RUNNING", "3 Train #2: RUNNING", "run: RUNNING",
        "3 Train #2: FAILED",
        "root: FAILED", "3 Train: SUCCEEDED", "run: FAILED",
    ]  # fmt: skip


def test_what_only_this_machine_lacks_does_not_keep_a_run_from_starting(
    kfp: FakeKfp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    there = ("--param", "source=/mnt/DAGM2007", "--param", "workers=2", "--param", "overrides=steps: 9")
    assert start(kfp, "--no-follow", *there) == 0


def test_several_classes_are_another_pipeline_with_a_list_of_them(kfp: FakeKfp) -> None:
    assert start(kfp, "--pipeline", "tinyunet-classes", "--param", "classes=[1, 3]") == 0
    assert kfp.runs[0]["runtime_config"]["parameters"] == {"classes": [1, 3]}
    assert kfp.pipelines[0]["display_name"] == "tinyunet-classes"
    assert kfp.runs[0]["display_name"].startswith("tinyunet-classes 2")


def test_no_follow_only_starts(kfp: FakeKfp) -> None:
    assert start(kfp, "--no-follow") == 0
    assert "GET /apis/v2beta1/runs/r1" not in kfp.log


def test_the_run_uses_the_uploaded_version_and_typed_parameters(kfp: FakeKfp) -> None:
    start(kfp, "--param", "workers=4", "--param", "validation_fraction=0.2", "--param", "preset=nvidia")
    (made,) = kfp.runs
    assert made["runtime_config"]["parameters"] == {
        "workers": 4,
        "validation_fraction": 0.2,
        "preset": "nvidia",
    }
    assert made["pipeline_version_reference"] == {"pipeline_id": "p1", "pipeline_version_id": "v2"}
    assert made["experiment_id"] == "e1"


def test_the_experiment_is_made_in_the_namespace_once(kfp: FakeKfp) -> None:
    kfp.namespaces = ("anna",)
    for _ in range(2):
        kfp.states = ["SUCCEEDED"]
        assert start(kfp, "--namespace", "anna") == 0
    assert [(e["display_name"], e["namespace"]) for e in kfp.experiments] == [("tinyunet", "anna")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--param", "workers=many"], "NUMBER_INTEGER"),
        (["--param", "worker=2"], "KEY one of: class_id"),
        (["--param", "workers"], "KEY=VALUE"),
        *(
            (["--pipeline", "tinyunet-classes", "--param", f"classes={text}"], "from 1 to 10, each once")
            for text in ("1,2", "[]", "[1,1]", "[0]", '["1"]', "[true]", "3")
        ),
        (["--pipeline", "tinyunet-all"], "expected one of: tinyunet, tinyunet-classes"),
        *(
            (["--param", pair], f"tinyunet: error: {expected}")
            for pair, expected in (
                ("preset=nvidea", "unknown preset 'nvidea'; expected one of: fast, nvidia, thorough"),
                ("image_size=100", "image_size is 100; expected a multiple of 16"),
                ("class_id=11", "class_id is 11; expected 1 to 10"),
                ("launcher=slurm", "launcher is 'slurm'; expected one of auto, local, mpijob"),
                ("overrides=learning_rat: 1", "unknown TrainConfig key 'learning_rat'"),
                ("workers=3", "ranks is 3; expected a divisor of the global batch 16"),
                ("fold=9", "fold is 9; expected 0 to 5"),
                ("image_score=mean", "image_score is 'mean'; expected one of max"),
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
def test_bad_input_is_found_before_anything_is_sent(
    kfp: FakeKfp, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert start(kfp, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
    assert kfp.log == []

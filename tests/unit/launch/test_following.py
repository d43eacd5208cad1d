"""What the launcher of an MPIJob does beside following it."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tinyunet.core.errors import UserError
from tinyunet.launch.following import LEASE_S, following, with_lease
from tinyunet.mpijob.status import JobFailed
from tinyunet.training.run import TrainingRun

RUN = TrainingRun(records="s3://bucket/records", out="s3://bucket/model", run_key="key")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the calls to S3 and MLflow."""
    recorded: list[str] = []

    @contextmanager
    def renewed(uri: str, seconds: float) -> Iterator[None]:
        recorded.append(f"renew {uri} {seconds}")
        yield
        recorded.append("released")

    monkeypatch.setattr("tinyunet.storage.lease.renewed_lease", renewed)
    monkeypatch.setattr("tinyunet.storage.lease.remove_lease", lambda uri: recorded.append(f"remove {uri}"))
    monkeypatch.setattr("tinyunet.tracking.launched.end_run", lambda key: recorded.append(f"end {key}"))
    monkeypatch.setattr("tinyunet.tracking.launched.nest_run", lambda key: recorded.append(f"nest {key}"))
    return recorded


def test_a_training_on_s3_has_the_lease_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINYUNET_LEASE_SECONDS", raising=False)
    assert with_lease(RUN).lease == LEASE_S
    monkeypatch.setenv("TINYUNET_LEASE_SECONDS", "60")
    leased = with_lease(RUN)
    assert (leased.lease, leased.lease_location) == (60, "s3://bucket/model.checkpoints/lease")
    assert with_lease(TrainingRun(records="r", out="/model")).lease == 0, "the ranks have no store"
    monkeypatch.setenv("TINYUNET_LEASE_SECONDS", "0")
    assert with_lease(RUN).lease == 0


@pytest.mark.parametrize("value", ["5m", "-60", "59", "10"])
def test_a_lease_that_one_slow_answer_would_end_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYUNET_LEASE_SECONDS", value)
    with pytest.raises(UserError, match=f"TINYUNET_LEASE_SECONDS is '{value}'; expected at least 60 seconds"):
        with_lease(RUN)


def test_the_lease_is_renewed_while_the_job_is_followed_and_deleted_after_its_success(
    calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TINYUNET_LEASE_SECONDS", "90")
    with following(with_lease(RUN)):
        calls.append("job")
    lease = "s3://bucket/model.checkpoints/lease"
    assert calls == [f"renew {lease} 90", "job", "released", "nest key", f"remove {lease}"]


@pytest.mark.parametrize(("ended", "expected"), [(True, ["end key"]), (False, [])])
def test_only_a_job_that_has_ended_ends_its_mlflow_run(
    calls: list[str], ended: bool, expected: list[str]
) -> None:
    with pytest.raises(JobFailed), following(RUN):
        raise JobFailed("failed", ended=ended)
    assert calls == expected

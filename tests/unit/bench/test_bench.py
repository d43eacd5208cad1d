"""`tinyunet bench`: hand-computed figures, and one tiny measurement of what needs no other process."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorflow.python.util import _pywrap_util_port

from tinyunet.__main__ import main
from tinyunet.bench import children
from tinyunet.bench.bench import bench
from tinyunet.bench.compute import multiply_adds, precisions
from tinyunet.bench.config import GROUPS, BenchConfig
from tinyunet.bench.kernels import CONVOLUTIONS, OTHERS, REST, summed, without_kernels
from tinyunet.bench.measure import Key, percentiles, repeat, spread
from tinyunet.bench.ranks import case_name
from tinyunet.bench.report import figures, ratios
from tinyunet.core.errors import UserError
from tinyunet.model.precision import resolve_precision
from tinyunet.model.unet import build_unet

# Of the convolutions on each level, kernel² · channels in · channels out, and its pixels at 32×32.
MULTIPLY_ADDS = (
    (288 + 9_216 + 1_024 + 13_824 + 9_216 + 32) * 32**2
    + (9_216 + 9_216 + 4_096 + 18_432 + 4_608) * 16**2
    + (18_432 + 36_864 + 16_384 + 73_728 + 18_432) * 8**2
    + (73_728 + 147_456 + 131_072 + 294_912 + 73_728) * 4**2
    + (294_912 + 589_824) * 2**2
)


def test_multiply_adds_are_those_of_the_published_layers() -> None:
    assert multiply_adds(build_unet(32, plain=True)) == MULTIPLY_ADDS == 71_630_848
    assert multiply_adds(build_unet(64, plain=True)) == 4 * MULTIPLY_ADDS
    assert round(256 * MULTIPLY_ADDS / 1e9, 2) == 18.34, "GMAC at 512×512"


@pytest.mark.parametrize(
    ("bfloat16", "expected"), [(True, ("float32", "mixed_bfloat16")), (False, ("float32",))]
)
def test_a_precision_that_the_machine_would_emulate_is_not_measured(
    bfloat16: bool, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinyunet.training.distributed.cpu_has_bfloat16", lambda: bfloat16)
    assert precisions() == expected


def test_percentiles_are_values_that_occurred() -> None:
    values = [float(v) for v in range(200, 0, -1)]
    assert percentiles(values) == {"count": 200, "p50": 100.0, "p90": 180.0, "p99": 198.0}
    assert percentiles([3.0, 1.0]) == {"count": 2, "p50": 1.0, "p90": 3.0, "p99": 3.0}


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that slows down to a tenth between two rounds changes no ratio."""
    values = {
        Key("train", "train mixed_bfloat16", "images_per_s"): [40.0, 4.0],
        Key("train", "train float32", "images_per_s"): [20.0, 2.0],
        Key("train", "train float32", "step_ms"): [800.0, 800.0, 8000.0],
    }
    found = ratios(values, BenchConfig(), "mixed_bfloat16")
    assert found == {"train mixed_bfloat16 / float32": spread([2.0])}
    assert figures(values)["train"]["train float32"] == {
        "images_per_s": {"median": 11.0, "min": 2.0, "max": 20.0},
        "step_ms": {"count": 3, "p50": 800.0, "p90": 8000.0, "p99": 8000.0},
    }


def test_a_call_is_made_twice_however_little_time_there_is() -> None:
    calls: list[int] = []
    assert len(repeat(lambda: calls.append(1), 0.0)) == len(calls) == 2


def test_a_world_is_named_by_its_ranks_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert [case_name(n) for n in (1, 2, 4)] == [
        "1 rank × 2 threads",
        "2 ranks × 1 thread",
        "4 ranks × 1 thread",
    ]


def test_only_names_groups_in_their_own_order() -> None:
    assert BenchConfig().groups() == GROUPS
    assert BenchConfig(only="memory, train").groups() == ("train", "memory")


@pytest.mark.parametrize(
    ("arguments", "named"),
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
def test_bad_options_are_one_line_and_exit_code_2(
    arguments: list[str],
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tinyunet", "bench", *arguments])
    assert main() == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1, said
    assert named in said[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("ranks", "which", "reason"), [(1, "/usr/bin/mpirun", "--ranks 1"), (2, None, "mpirun is not installed")]
)
def test_ranks_that_cannot_be_measured_are_skipped_with_the_reason(
    ranks: int, which: str | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: which)
    assert reason in children.without_ranks(ranks)


def test_a_failing_process_is_one_line_with_its_last_words() -> None:
    with pytest.raises(UserError, match=r"ended with exit code 3: no such luck; "):
        children.run(
            [sys.executable, "-c", "import sys; print('no such luck', file=sys.stderr); sys.exit(3)"]
        )


def test_an_interrupt_ends_the_process_that_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    def interrupted(process: Any) -> tuple[str, str]:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen.communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        children.run([sys.executable, "-c", "import time; time.sleep(600)"])
    assert started[0].returncode is not None


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All groups that need no other process, one round, as little time as possible."""
    out = tmp_path_factory.mktemp("bench") / "new" / "bench.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(children, "IMAGES", "synthetic://?train=24&test=16&size=32")
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")  # in the processes that are started: on any CPU
        patch.setattr("tinyunet.bench.bench.without_kernels", lambda: "")
        config = BenchConfig(
            image_size=32, rounds=1, seconds=0.0, ranks=1, only="train,predict,input,ranks,kernels,convert"
        )
        result = bench(config, out)
    assert [path.name for path in out.parent.iterdir()] == ["bench.json"]
    assert json.loads(out.read_text()) == json.loads(json.dumps(result))
    return result


def test_every_figure_is_a_finite_positive_number(measured: dict[str, Any]) -> None:
    numbers = [
        number
        for group in ("train", "predict", "input", "kernels", "convert")
        for case in measured[group].values()
        for figure in case.values()
        for number in figure.values()
    ]
    numbers += [number for ratio in measured["ratios"].values() for number in ratio.values()]
    assert len(numbers) > 40  # of float32 alone; of two precisions more
    assert all(math.isfinite(number) and number > 0 for number in numbers)


def test_what_is_compared_stands_side_by_side(measured: dict[str, Any]) -> None:
    fast = resolve_precision("auto")
    names = [*(f"train {p}" for p in precisions()), f"plain Keras {fast}"]
    assert list(measured["train"]) == names
    assert measured["train"]["train float32"]["step_ms"]["count"] == 2
    assert set(measured["input"]["input"]) == {"images_per_s", "images_per_core_s"}
    for precision in precisions():
        assert {f"predict {precision} batch {n}" for n in (1, 16)} < set(measured["predict"])
    assert f"train {fast} / plain Keras" in measured["ratios"]
    assert not any(name.startswith("train float32 / float32") for name in measured["ratios"])
    assert measured["settings"]["multiply_adds_per_image"] == MULTIPLY_ADDS
    assert measured["skipped"] == {"ranks": "--ranks 1 asks for one rank"}


LOG = """\
onednn_verbose,v1,info,cpu,isa:Intel AVX-512
onednn_verbose,v1,primitive,exec,cpu,convolution,brg,forward_training,src wei,attr,alg:convolution_direct,\
mb2_ic3oc4_ih8oh5kh3sh1dh0ph1_iw9ow6kw2sw1dw0pw1,0.5
onednn_verbose,v1,primitive,exec,cpu,convolution,brg,forward_inference,src wei,attr,alg:convolution_direct,\
mb1_ic1oc1_ih2oh2kh1sh1dh0ph0_iw2ow2kw1sw1dw0pw0,0.25
onednn_verbose,primitive,exec,cpu,convolution,jit,backward_weights,src wei,,alg:convolution_direct,\
mb1_ic1oc1_ih2oh2kh1sh1dh0ph0_iw2ow2kw1sw1dw0pw0,2
onednn_verbose,v1,primitive,exec,cpu,reorder,jit:uni,undef,src dst,attr,,32x1,0.125
another line
"""


def test_times_and_operations_of_kernels_are_added_up_by_kind() -> None:
    forward, inputs, kernels = CONVOLUTIONS.values()
    assert summed(LOG.splitlines()) == {
        forward: (0.75, 2 * 2 * 3 * 4 * 5 * 6 * 3 * 2 + 2 * 4),
        inputs: (0.0, 0.0),
        kernels: (2.0, 2 * 4),
        OTHERS: (0.125, 0.0),
    }


def test_kernels_are_skipped_with_the_reason_where_onednn_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pywrap_util_port, "IsMklEnabled", lambda: False)
    assert "TF_ENABLE_ONEDNN_OPTS=1" in without_kernels()


def test_kernels_add_up_to_the_step_and_do_all_its_operations(measured: dict[str, Any]) -> None:
    found, ratios = measured["kernels"], measured["ratios"]
    kinds = [*CONVOLUTIONS.values(), OTHERS, REST]
    assert set(found) == {*kinds, "step"}
    assert sum(ratios[f"{kind} / step"]["median"] for kind in kinds) == pytest.approx(1)
    ceiling = measured["predict"][f"GEMM ceiling {resolve_precision('auto')}"]["gflop_per_s"]["median"]
    for kind in CONVOLUTIONS.values():
        rate, ms = (found[kind][figure]["median"] for figure in ("gflop_per_s", "per_step_ms"))
        assert 0.85 < rate * ms * 1e6 / (16 * 2 * MULTIPLY_ADDS) < 1, (
            "the layers of model.layers do a little less"
        )
        assert ratios[f"{kind} / GEMM, rates"]["median"] == pytest.approx(rate / ceiling)


def test_the_ceiling_is_the_rate_of_products_over_the_operations_of_an_image(
    measured: dict[str, Any],
) -> None:
    ceiling = measured["predict"]["GEMM ceiling float32"]
    expected = ceiling["gflop_per_s"]["median"] * 1e9 / (2 * MULTIPLY_ADDS)
    assert ceiling["images_per_s"]["median"] == pytest.approx(expected)
    share = measured["ratios"]["predict float32 / GEMM, batch 16"]["median"]
    rate = measured["predict"]["predict float32 batch 16"]["images_per_s"]["median"]
    assert share == pytest.approx(rate / expected)


def test_nothing_is_written_when_a_measurement_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> Callable[[float], object]:
        raise KeyboardInterrupt

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tinyunet.bench.bench.input_cases", interrupted)
    with pytest.raises(KeyboardInterrupt):
        bench(BenchConfig(image_size=32, only="input"), tmp_path / "bench.json")
    assert list(tmp_path.iterdir()) == [tmp_path / "scratch"]
    assert list((tmp_path / "scratch").iterdir()) == []

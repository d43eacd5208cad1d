"""Times and operations of kernels from oneDNN's log."""

from typing import Any

import pytest
from tensorflow.python.util import _pywrap_util_port

from tests.unit.bench.layers import MULTIPLY_ADDS
from tinyunet.bench.kernels import CONVOLUTIONS, OTHERS, REST, kernels_unavailable_reason, sum_by_kind
from tinyunet.model.precision import resolve_precision

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


def test_times_and_operations_are_summed_by_kind_of_kernel() -> None:
    forward, inputs, kernels = CONVOLUTIONS.values()
    assert sum_by_kind(LOG.splitlines()) == {
        forward: (0.75, 2 * 2 * 3 * 4 * 5 * 6 * 3 * 2 + 2 * 4),
        inputs: (0.0, 0.0),
        kernels: (2.0, 2 * 4),
        OTHERS: (0.125, 0.0),
    }


def test_the_reason_why_kernels_cannot_be_measured_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pywrap_util_port, "IsMklEnabled", lambda: False)
    assert "TF_ENABLE_ONEDNN_OPTS=1" in kernels_unavailable_reason()


def test_kernels_add_up_to_the_step_and_cover_its_operations(measured: dict[str, Any]) -> None:
    kernels, ratios = measured["kernels"], measured["ratios"]
    kinds = [*CONVOLUTIONS.values(), OTHERS, REST]
    assert set(kernels) == {*kinds, "step"}
    assert sum(ratios[f"{kind} / step"]["median"] for kind in kinds) == pytest.approx(1)
    ceiling = measured["predict"][f"GEMM ceiling {resolve_precision('auto')}"]["gflop_per_s"]["median"]
    for kind in CONVOLUTIONS.values():
        rate, ms = (kernels[kind][figure]["median"] for figure in ("gflop_per_s", "per_step_ms"))
        assert 0.85 < rate * ms * 1e6 / (16 * 2 * MULTIPLY_ADDS) < 1, (
            "model.layers needs slightly fewer operations than the published layers"
        )
        assert ratios[f"{kind} / GEMM, rates"]["median"] == pytest.approx(rate / ceiling)

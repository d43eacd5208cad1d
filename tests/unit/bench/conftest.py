"""One small measurement that several test files read."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import without_graphs
from tinyunet.bench import children, compute
from tinyunet.bench.bench import bench
from tinyunet.bench.config import BenchConfig


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON file of the groups that need no second rank: one round, as short as possible.

    Only the process that measures the kernels builds a graph.
    """
    out: Path = tmp_path_factory.mktemp("bench") / "new" / "bench.json"
    with pytest.MonkeyPatch.context() as patch, without_graphs():
        patch.setattr(children, "IMAGES", "synthetic://?train=24&test=16&size=32")
        patch.setattr(compute, "GEMM_SIDE", {"CPU": 256, "GPU": 256})
        patch.setenv("TF_ENABLE_ONEDNN_OPTS", "1")  # the child processes then use oneDNN on any CPU
        patch.setattr("tinyunet.bench.bench.kernels_unavailable_reason", lambda: "")
        config = BenchConfig(
            image_size=32, rounds=1, seconds=0.0, ranks=1, only="train,predict,input,ranks,kernels,convert"
        )
        report = bench(config, out)
    assert [path.name for path in out.parent.iterdir()] == ["bench.json"]
    result = json.loads(out.read_text())
    assert result == json.loads(json.dumps(report.to_dict()))
    return dict(result)

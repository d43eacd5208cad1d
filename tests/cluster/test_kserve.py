"""The manifests for KServe against the CRDs that KServe publishes, checked by a real API server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from deployment import K8S
from machine import HERE, run
from objects import wait_until

MANIFESTS = K8S / "components/kserve"
GROUP = "serving.kserve.io"
KINDS = ("inferenceservices", "servingruntimes", "clusterservingruntimes")


@pytest.fixture(scope="module")
def kserve(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with KServe's CRDs, of the version in kserve/go.mod, without its controller."""
    module = json.loads(
        run("go", "mod", "download", "-json", "github.com/kserve/kserve", cwd=HERE / "kserve")
    )
    folder = Path(module["Dir"], "config/crd/full")
    files = [word for kind in KINDS for word in ("-f", folder / f"serving.kserve.io_{kind}.yaml")]
    # Without --server-side, kubectl would write the whole CRD into an annotation, which is too large.
    cluster.kubectl("apply", "--server-side", *files)
    wait_until("the kinds are served", lambda: kinds(cluster) == set(KINDS))
    yield cluster
    cluster.kubectl("delete", "crd", *(f"{kind}.{GROUP}" for kind in KINDS))


def kinds(cluster: Cluster) -> set[str]:
    names = cluster.kubectl("api-resources", f"--api-group={GROUP}", "--output=name").split()
    return {name.removesuffix(f".{GROUP}") for name in names}


def apply(cluster: Cluster, namespace: str, *manifests: str) -> str:
    text = "\n---\n".join(manifests)
    words = ("apply", "--dry-run=server", "--validate=strict", "-f", "-")
    return cluster.kubectl("-n", namespace, *words, stdin=text)


RUNTIME = (MANIFESTS / "servingruntime.yaml").read_text()
SERVICE = (MANIFESTS / "inferenceservice.yaml").read_text()


def test_the_api_server_accepts_the_manifests(kserve: Cluster, namespace: str) -> None:
    cluster_wide = RUNTIME.replace("kind: ServingRuntime", "kind: ClusterServingRuntime")
    assert cluster_wide != RUNTIME
    lines = apply(kserve, namespace, RUNTIME, SERVICE, cluster_wide).splitlines()
    assert [line.split()[0] for line in lines] == [
        "servingruntime.serving.kserve.io/tinyunet",
        "inferenceservice.serving.kserve.io/tinyunet-part-7",
        "clusterservingruntime.serving.kserve.io/tinyunet",
    ]


@pytest.mark.parametrize(
    ("text", "before", "after", "words"),
    [
        (SERVICE, "minReplicas: 2", "replica: 2", 'unknown field "spec.predictor.replica"'),
        (SERVICE, "minReplicas: 2", "minReplicas: two", "spec.predictor.minReplicas"),
        (SERVICE, "protocolVersion: v2", "protocol: v2", 'unknown field "spec.predictor.model.protocol"'),
        (
            SERVICE,
            "modelFormat: {name: tinyunet}",
            "modelFormat: {}",
            "spec.predictor.model.modelFormat.name",
        ),
        (RUNTIME, "readOnlyRootFilesystem", "readOnlyRoot", "securityContext.readOnlyRoot"),
    ],
)
def test_a_wrong_field_is_refused(
    kserve: Cluster, namespace: str, text: str, before: str, after: str, words: str
) -> None:
    assert text.count(before) == 1
    with pytest.raises(RuntimeError) as error:
        apply(kserve, namespace, text.replace(before, after))
    assert words in str(error.value)

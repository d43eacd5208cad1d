"""The metrics as Prometheus reads them, and the dashboard and the alert rules that use them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tinyunet.server.metrics import CONTENT_TYPE, REASONS, STAGES, Metrics

FOLDER = Path(__file__).parents[3] / "k8s" / "components" / "prometheus"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text())
ALERTS = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["spec"]
LABELS_OF_PROMETHEUS = {"namespace", "le"}


def used() -> Metrics:
    """Return metrics of which every method was called."""
    metrics = Metrics()
    metrics.request("/inspect", 200, 0.2)
    metrics.stage("decode", 0.1)
    metrics.queue_length(3)
    metrics.batch(2)
    metrics.verdict(defective=True, score=1.5)
    metrics.model("part-7", "4", "bfloat16", -0.5)
    metrics.reloaded()
    metrics.refused()
    metrics.follow_failed()
    metrics.drift({"brightness": 0.5}, 12)
    metrics.kept("uncertain", 7)
    metrics.keep_failed()
    metrics.unwatched()
    return metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.text().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def test_every_call_changes_its_metric() -> None:
    found = samples(used())
    expected = {
        ("tinyunet_requests_total", (("route", "/inspect"), ("status", "200"))): 1,
        ("tinyunet_request_seconds_sum", (("route", "/inspect"),)): 0.2,
        ("tinyunet_stage_seconds_count", (("stage", "decode"),)): 1,
        ("tinyunet_queue_images", ()): 3,
        ("tinyunet_batch_images_bucket", (("le", "1.0"),)): 0,
        ("tinyunet_batch_images_bucket", (("le", "2.0"),)): 1,
        ("tinyunet_verdicts_total", (("verdict", "defective"),)): 1,
        ("tinyunet_image_score_bucket", (("le", "1.0"),)): 0,
        ("tinyunet_image_score_bucket", (("le", "2.0"),)): 1,
        ("tinyunet_model_info", (("name", "part-7"), ("precision", "bfloat16"), ("version", "4"))): 1,
        ("tinyunet_image_threshold", ()): -0.5,
        ("tinyunet_reloads_total", ()): 1,
        ("tinyunet_refused_versions_total", ()): 1,
        ("tinyunet_follow_failures_total", ()): 1,
        ("tinyunet_drift_score", (("cause", "brightness"),)): 0.5,
        ("tinyunet_drift_window_images", ()): 12,
        ("tinyunet_kept_images", (("reason", "uncertain"),)): 7,
        ("tinyunet_keep_failures_total", ()): 1,
        ("tinyunet_unwatched_images_total", ()): 1,
    }
    assert {key: found.get(key) for key in expected} == expected
    assert "text/plain" in CONTENT_TYPE


def test_what_has_not_happened_yet_is_reported_as_zero() -> None:
    found = samples(Metrics())
    assert found["tinyunet_verdicts_total", (("verdict", "clean"),)] == 0
    assert found["tinyunet_reloads_total", ()] == 0
    assert all(found["tinyunet_kept_images", (("reason", reason),)] == 0 for reason in REASONS)
    assert all(found["tinyunet_stage_seconds_count", (("stage", stage),)] == 0 for stage in STAGES)


def test_a_new_model_replaces_the_one_before_it_and_its_drift() -> None:
    metrics = used()
    metrics.model("part-7", "5", "bfloat16", 0.0)
    metrics.drift({}, 0)
    names = [key for key in samples(metrics) if key[0] in ("tinyunet_model_info", "tinyunet_drift_score")]
    versions = [("name", "part-7"), ("precision", "bfloat16"), ("version", "5")]
    assert names == [("tinyunet_model_info", tuple(versions))]


def test_two_servers_in_one_process_share_no_metric() -> None:
    used()
    assert samples(Metrics())["tinyunet_reloads_total", ()] == 0


def expressions() -> dict[str, str]:
    """Return every query of the dashboard and of the alert rules by its place."""
    found = {}
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            found[f"panel {panel['title']} {target['refId']}"] = target["expr"]
    for annotation in DASHBOARD["annotations"]["list"]:
        found[f"annotation {annotation['name']}"] = annotation["expr"]
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            found[f"alert {rule['alert']}"] = rule["expr"]
    return found


@pytest.mark.parametrize("place", sorted(expressions()))
def test_a_query_names_metrics_and_labels_that_exist(place: str) -> None:
    known = samples(used())
    labels: dict[str, set[str]] = {}
    for name, pairs in known:
        labels.setdefault(name, set()).update(key for key, _ in pairs)
    expression = expressions()[place]
    metrics = re.findall(r"\btinyunet_\w+", expression)
    assert metrics
    assert set(metrics) <= labels.keys()
    allowed = set[str]().union(LABELS_OF_PROMETHEUS, *(labels[name] for name in metrics))
    selected = set(re.findall(r"(\w+)=~?\"", expression))
    grouped = {word.strip() for text in re.findall(r"by \(([^)]*)\)", expression) for word in text.split(",")}
    assert selected | grouped <= allowed


def test_every_metric_is_on_the_dashboard() -> None:
    text = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", []))
    families = {family.name for family in text_string_to_metric_families(used().text().decode())}
    assert {name for name in families if name not in text and not name.endswith("_created")} == set()


def test_the_dashboard_has_the_form_that_grafana_imports() -> None:
    panels: list[dict[str, Any]] = DASHBOARD["panels"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert DASHBOARD["uid"] == "tinyunet-serving"
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        position = panel["gridPos"]
        own = {
            (x, y)
            for x in range(position["x"], position["x"] + position["w"])
            for y in range(position["y"], position["y"] + position["h"])
        }
        assert position["x"] + position["w"] <= 24, panel["title"]
        assert not own & cells, f"{panel['title']} overlaps another panel"
        cells |= own
        ids = [target["refId"] for target in panel.get("targets", [])]
        assert len(set(ids)) == len(ids)
    sources = {json.dumps(t["datasource"]) for p in panels for t in p.get("targets", [])}
    assert sources == {json.dumps({"type": "prometheus", "uid": "${datasource}"})}
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "namespace"]


def test_every_alert_says_what_happened_and_what_to_do() -> None:
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            assert {"summary", "description"} <= rule["annotations"].keys()
            assert rule["labels"]["severity"] in ("critical", "warning", "info")

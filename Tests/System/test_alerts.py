"""deploy/prometheus/alerts.yml asks for metrics that a server really has, and says what is to be done."""
import json
import re
import subprocess

import pytest
import yaml

from harness import ROOT, wait_until
from test_collection import quick

FILE = ROOT / "deploy/prometheus/alerts.yml"
RULES = [rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]]


def test_every_metric_of_the_alerts_is_on_a_server(fresh):
    server = quick(fresh)
    named = {name for rule in RULES for name in re.findall(r"strata_[a-z_]+", rule["expr"])}
    assert named, "the rules ask for nothing"

    def missing():
        return named - {sample.split("{")[0] for sample in server.metrics()}

    wait_until(lambda: not missing(), f"there: {missing()}")


def test_every_label_of_the_alerts_is_on_a_server(fresh):
    server = quick(fresh)
    for rule in RULES:
        for label in re.findall(r"by \((\w+)\)", rule["expr"]):
            (name,) = re.findall(r"strata_[a-z_]+", rule["expr"])
            start = f"{name}{{{label}="
            wait_until(lambda: any(sample.startswith(start) for sample in server.metrics()), f"there: {start}")


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("info", "warning", "critical"), rule
        assert set(rule["annotations"]) == {"summary", "description"}, rule
        assert re.fullmatch(r"\d+[mh]", rule["for"]), rule


def test_every_alert_is_in_the_documentation():
    text = (ROOT / "docs/operations.md").read_text()
    assert [rule["alert"] for rule in RULES if f"`{rule['alert']}`" not in text] == []


# What Prometheus sees each minute, and when it sends an alert: not a minute before. Of two nodes one may know less.
LAG = 'strata_gc_lag_seconds{queue="links", instance="%s"}'
CASES = [
    ("StrataCollectorStopped", {"strata_gc_last_step_timestamp_seconds": "0 60 120 120x60"}, 23),
    ("StrataCollectorStopped", {"strata_other": "0x60"}, 5),
    ("StrataCollectorStopped", {f'strata_gc_last_step_timestamp_seconds{{instance="{n}"}}': values for n, values in
                                [("a", "0x200"), ("b", "0+60x200")]}, None),
    ("StrataCollectionLags", {LAG % "a": "0x9 3700x60", LAG % "b": "0x70"}, 25),
    ("StrataCollectionLags", {LAG % "a": "0x9 3700x13 0 3700x13 0x60"}, None),
    ("StrataCollectionLate", {LAG % "a": "0+600x120"}, 52),
    ("StrataTrashOverdue", {"strata_gc_oldest_trash_seconds": "0+60x120"}, 76),
    ("StrataTrashGrows", {"strata_gc_pending_bytes": "60000000000x1499 130000000000x200"}, 1560),
    ("StrataTrashGrows", {"strata_gc_pending_bytes": "70000000000x1499 130000000000x200"}, None),
    ("StrataTrashGrows", {"strata_gc_pending_bytes": "6x1499 13x200"}, None),
    ("StrataRetentionSurge", {"strata_retention_tags_total": "0+1x1500 3500x100"}, 1502),
    ("StrataRetentionSurge", {"strata_retention_tags_total": "0+100x1500 153000x100"}, None),
    ("StrataRetentionSurge", {"strata_retention_tags_total": "0x1500 900x100"}, None),
    ("StrataRetentionSurge", {"strata_retention_tags_total": "0x1000 3000x1440 6000x500"}, None),
    ("StrataCollectionFails", {"strata_gc_failures_total": "0 0+1x120"}, 62),
    ("StrataCollectionFails", {"strata_gc_failures_total": "0x9 1x120"}, None),
    ("StrataRetentionFails", {"strata_retention_failures_total": "0 0 1x59 2x59 3x59 4x59 5x60"}, 182),
    ("StrataRetentionFails", {"strata_retention_failures_total": "0x9 1x400"}, None),
]


@pytest.mark.parametrize("alert, series, minute", CASES)
def test_an_alert_is_sent_when_it_is_due_and_not_before(tmp_path, alert, series, minute):
    (rule,) = (rule for rule in RULES if rule["alert"] == alert)
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [rule]}]}))
    last = max(sum(int(n) + 1 for n in re.findall(r"x(\d+)", values)) for values in series.values())
    case = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        # Whether there is one, not what it says.
        "promql_expr_test": [
            {"expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})', "eval_time": f"{at}m", "exp_samples": samples}
            for at, samples in ([(minute - 1, []), (minute, [{"labels": "{}", "value": 1}])] if minute else [(last - 1, [])])
        ],
    }
    (tmp_path / "test.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_is_sent():
    assert {rule["alert"] for rule in RULES} == {alert for alert, _, minute in CASES if minute}
    done = subprocess.run(["promtool", "check", "rules", FILE], capture_output=True, text=True)
    assert done.returncode == 0 and f"{len(RULES)} rules found" in done.stdout, done.stdout + done.stderr

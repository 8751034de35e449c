"""deploy/prometheus/alerts.yml asks for metrics that a server really has, and says what is to be done."""
import re

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

"""Parses every expression of the alert rules and of the Grafana dashboard as Prometheus' own parser does, and checks the
parts of a rule. Whether the metrics exist is checked where they are made. Usage: rules.py DEPLOY_DIRECTORY"""

import json
import pathlib
import re
import sys

import promql_parser
import yaml

SEVERITIES = {"critical", "warning"}
DURATION = re.compile(r"^[0-9]+(s|m|h)$")


def check_rules(path):
    names = []
    for group in yaml.safe_load(path.read_text())["groups"]:
        assert set(group) <= {"name", "interval", "rules"}, group["name"]
        for rule in group["rules"]:
            name = rule["alert"]
            assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, name
            promql_parser.parse(rule["expr"])
            assert DURATION.match(rule.get("for", "0s")), name
            assert rule["labels"]["severity"] in SEVERITIES, name
            assert set(rule["annotations"]) == {"summary", "description"}, name
            # A label in a text must survive the expression's grouping.
            for label in re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())):
                groups = re.findall(r"\b(?:by|without) \(([^)]*)\)", rule["expr"])
                kept = {one.strip() for group in groups for one in group.split(",")}
                assert not groups or label in kept, f"{name}: {label} is not in the result"
            names.append(name)
    assert len(names) == len(set(names)), names
    return len(names)


def check_dashboard(path):
    dashboard = json.loads(path.read_text())
    ids, count = [], 0
    for panel in dashboard["panels"]:
        ids.append(panel["id"])
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "5m")
            promql_parser.parse(re.sub(r"\$\w+", "x", expression))
            count += 1
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
    assert len(ids) == len(set(ids))
    return count


def main(directory):
    rules = check_rules(directory / "prometheus" / "alerts.yaml")
    panels = check_dashboard(directory / "grafana" / "kairosroute.json")
    print(f"{rules} rules, {panels} expressions of the dashboard")


main(pathlib.Path(sys.argv[1]))

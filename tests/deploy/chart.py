"""Renders the Helm chart by Helm's own library with several sets of values, checks every object against the schemas of
Kubernetes, and checks what holds between the objects. Usage: chart.py CHART_DIRECTORY"""

import sys

import helm_python as helm
import kubernetes_validate
import yaml

VALUES = {
    "defaults": {},
    "everything": {
        "image": {"repository": "registry.example.com/kairosroute", "tag": "0.1.0", "pullSecrets": [{"name": "pull"}]},
        "autoscaling": {"enabled": True},
        "settings": {"KAIROSROUTE_PUBLIC_URL": "https://gateway.example.com", "KAIROSROUTE_WORKERS": 4},
        "ingress": {"enabled": True, "className": "nginx", "host": "gateway.example.com", "tlsSecret": "tls"},
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "service": {"type": "LoadBalancer", "annotations": {"example.com/a": "b"}},
        "podAnnotations": {"example.com/a": "b"},
        "podLabels": {"team": "a"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
    },
    "little": {
        "replicas": 1,
        "migrations": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "ingress": {"enabled": True},
    },
}
REFUSED = {
    "a secret among the settings": {"settings": {"OPENAI_API_KEY": "sk-1"}},
    "the master keys among the settings": {"settings": {"KAIROSROUTE_MASTER_KEYS": "1:AA"}},
    "no replica": {"replicas": 0},
    "an unknown value": {"replica": 2},
    "no secret": {"existingSecret": ""},
}
VERSIONS = ["1.30", "1.34"]


def documents(chart, values):
    rendered = chart.render(values, name="prod", namespace="llm")
    for path, text in sorted(rendered.items()):
        if path.endswith(".txt"):
            continue
        for document in yaml.safe_load_all(text):
            if document is not None:
                yield path, document


def pods_of(objects, labels):
    """The pod templates that a selector with these labels reaches."""
    for kind in ("Deployment", "Job"):
        for item in objects.get(kind, []):
            template = item["spec"]["template"]
            if labels.items() <= template["metadata"]["labels"].items():
                yield item


def check(name, objects, values):
    deployment = objects["Deployment"][0]
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in ("/healthz", "/readyz"), (name, probe)
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz", name
    for item in objects["Deployment"] + objects.get("Job", []):
        spec = item["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["automountServiceAccountToken"] is False, name
        for one in spec["containers"]:
            assert one["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert one["envFrom"] == [{"secretRef": {"name": values.get("existingSecret", "kairosroute")}}], name
            names = [variable["name"] for variable in one["env"]]
            assert len(names) == len(set(names)), (name, names)
    for service in objects["Service"]:
        reached = list(pods_of(objects, service["spec"]["selector"]))
        assert reached == [deployment], f"{name}: {service['metadata']['name']} reaches {len(reached)} workloads"
        ports = {port["name"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports, name
        is_public = "metrics" not in service["metadata"]["name"]
        assert is_public != any(port["targetPort"] == "metrics" for port in service["spec"]["ports"]), name
    for budget in objects.get("PodDisruptionBudget", []):
        assert list(pods_of(objects, budget["spec"]["selector"]["matchLabels"])) == [deployment], name
    for monitor in objects.get("ServiceMonitor", []):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        found = [one for one in objects["Service"] if wanted <= one["metadata"]["labels"].items()]
        assert [one["metadata"]["name"] for one in found] == ["prod-kairosroute-metrics"], name
        assert monitor["spec"]["endpoints"][0]["port"] == found[0]["spec"]["ports"][0]["name"], name
    migrate = {one["name"]: one.get("value") for one in container["env"]}["KAIROSROUTE_MIGRATE"]
    assert migrate == ("off" if objects.get("Job") else "on"), name
    has_replicas = "replicas" in deployment["spec"]
    assert has_replicas != bool(objects.get("HorizontalPodAutoscaler")), name


def main(directory):
    count = 0
    with helm.Chart.load(directory) as chart:
        for name, values in VALUES.items():
            objects = {}
            for path, document in documents(chart, values):
                objects.setdefault(document["kind"], []).append(document)
                if document["apiVersion"].startswith("monitoring.coreos.com/"):
                    continue  # not a kind of Kubernetes itself
                for version in VERSIONS:
                    kubernetes_validate.validate(document, version, strict=True)
                count += 1
            check(name, objects, values)
        for name, values in REFUSED.items():
            try:
                list(documents(chart, values))
            except helm.HelmError:
                continue
            raise SystemExit(f"the chart accepts {name}")
    print(f"{count} objects, {len(VALUES)} sets of values, {len(REFUSED)} refusals")


main(sys.argv[1])

"""The manifests: built by kustomize, checked against Kubernetes' own schemas and against each other."""

import json
import re
import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.kubernetes import operator_rules
from gateway.config import load
from gateway.control.workers import KILL_MARGIN_S
from tests.deploy.conftest import Ran
from tests.deploy.programs import DEPLOY, ROOT, run, version

pytestmark = pytest.mark.deploy

FOLDER = DEPLOY / "kubernetes"
CUSTOM = {"ServiceMonitor", "ScrapeConfig", "PrometheusRule"}
OPERATOR_MODELS = ROOT / ".cache/kubernetes-models/node_modules/@kubernetes-models/prometheus-operator"
Document = dict[str, Any]


@pytest.fixture(scope="module")
def built() -> list[Document]:
    """All of it, as `kubectl apply -k` would send it."""
    return list(yaml.safe_load_all(run("kubectl", "kustomize", FOLDER)))


def written() -> list[Document]:
    """All of it, file by file."""
    return [
        document
        for path in sorted(FOLDER.glob("**/*.yaml"))
        if path.name not in {"kustomization.yaml", "gateway.yaml", "adapter-values.yaml"}
        for document in yaml.safe_load_all(path.read_text("utf-8"))
    ]


def the(kind: str, name: str) -> Document:
    (found,) = [d for d in written() if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def containers() -> list[Document]:
    kinds = {"Deployment", "StatefulSet"}
    return [d["spec"]["template"]["spec"]["containers"][0] for d in written() if d["kind"] in kinds]


# -- schemas --


def test_kustomize_builds_it_and_everything_lands_in_one_namespace(built: list[Document], ran: Ran) -> None:
    assert len(built) == len(written()) + 1  # the ConfigMap is made from gateway.yaml
    assert {d["metadata"].get("namespace") for d in built if d["kind"] != "Namespace"} == {"llm"}
    ran(f"kubectl kustomize ({version('kubectl', 'version', '--client').split(': ')[-1]}): all manifests")


def test_kubernetes_own_schemas_accept_every_manifest(tmp_path: Path, ran: Ran) -> None:
    standard = [document for document in written() if document["kind"] not in CUSTOM]
    (tmp_path / "all.yaml").write_text(yaml.safe_dump_all(standard))
    said = run("kubernetes-validate", "--strict", tmp_path / "all.yaml")
    assert said.count(" passed ") == len(standard)
    ran(f"kubernetes-validate: {len(standard)} manifests, strictly (they were not applied to a cluster)")


@pytest.mark.parametrize("document", [d for d in written() if d["kind"] in CUSTOM], ids=lambda d: d["kind"])
def test_the_prometheus_operators_schemas_accept_its_resources(document: Document, ran: Ran) -> None:
    if not OPERATOR_MODELS.exists():
        pytest.skip("the npm package @kubernetes-models/prometheus-operator is not installed")
    module = OPERATOR_MODELS / document["apiVersion"] / f"{document['kind']}.js"
    script = (
        "const [path, kind, text] = process.argv.slice(1);"
        "const model = new (require(path)[kind])(JSON.parse(text)); model.validate();"
    )
    run("node", "-e", script, module, document["kind"], json.dumps(document))
    ran("@kubernetes-models/prometheus-operator: ServiceMonitor, ScrapeConfig, PrometheusRule")


@pytest.mark.parametrize("document", [d for d in written() if d["kind"] in CUSTOM], ids=lambda d: d["kind"])
def test_the_prometheus_operator_knows_every_field_that_is_set(document: Document) -> None:
    # Its schemas let unknown fields pass, as the API server does, which then drops them without a word.
    folder = OPERATOR_MODELS / document["apiVersion"].replace("v1alpha1", "")
    if not folder.exists():
        pytest.skip("the npm package @kubernetes-models/prometheus-operator is not installed")
    known = {
        name
        for path in folder.rglob("*.d.ts")
        for name in re.findall(r"^\s+\"?(\w+)\"?\??:", path.read_text("utf-8"), re.MULTILINE)
    }
    assert fields(document["spec"]) - known == set()


def fields(value: object) -> set[str]:
    """All keys, less those of labels and of what Kubernetes itself defines."""
    if isinstance(value, list):
        return set().union(*map(fields, value))
    if not isinstance(value, dict):
        return set()
    free = {"selector", "labels", "annotations"}
    return set(value).union(*(fields(inner) for key, inner in value.items() if key not in free))


def test_the_operators_rules_are_those_of_prometheus() -> None:
    current = operator_rules.TARGET.read_text("utf-8")
    assert current == operator_rules.text(), "run: python -m deploy.kubernetes.operator_rules"


# -- the manifests among themselves --


def test_a_pod_is_given_the_time_that_its_requests_may_take() -> None:
    pod = the("Deployment", "vllm-gateway")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    slept_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    grace_s = load(FOLDER / "gateway/gateway.yaml").shutdown_grace
    assert slept_s >= 5
    assert pod["terminationGracePeriodSeconds"] > slept_s + grace_s + KILL_MARGIN_S


def test_vllm_is_given_the_time_it_drains_for() -> None:
    for kind, name in (("StatefulSet", "qwen3-8b"), ("Deployment", "bge-m3")):
        pod = the(kind, name)["spec"]["template"]["spec"]
        words = [part for word in pod["containers"][0]["args"] for part in word.split("=")]
        drain_s = int(words[words.index("--shutdown-timeout") + 1])
        assert pod["terminationGracePeriodSeconds"] > drain_s


def test_the_gateway_lists_every_pod_of_every_model_and_no_other() -> None:
    listed = {
        (model, replica.url)
        for model, options in load(FOLDER / "gateway/gateway.yaml").models.items()
        for replica in options.replicas
    }
    pods = {("bge-m3", "http://bge-m3:8000")}
    stateful = the("StatefulSet", "qwen3-8b")["spec"]
    for number in range(stateful["replicas"]):
        pods.add(("qwen3-8b", f"http://qwen3-8b-{number}.{stateful['serviceName']}:8000"))
    assert listed == pods
    assert the("Service", "qwen3-8b")["spec"]["clusterIP"] == "None"


def test_services_budgets_and_the_autoscaler_mean_the_pods_that_are_there() -> None:
    templates = [
        d["spec"]["template"]["metadata"]["labels"]
        for d in written()
        if d["kind"] in {"Deployment", "StatefulSet"}
    ]
    for document in written():
        if document["kind"] in {"Service", "PodDisruptionBudget"}:
            selector = document["spec"]["selector"]
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= labels.items() for labels in templates), document["metadata"]
    target = the("HorizontalPodAutoscaler", "vllm-gateway")["spec"]["scaleTargetRef"]
    assert the(target["kind"], target["name"])


def test_services_name_ports_that_the_containers_have() -> None:
    ports = {port["name"]: port["containerPort"] for c in containers() for port in c["ports"]}
    config = load(FOLDER / "gateway/gateway.yaml")
    assert (ports["http"], ports["admin"]) == (config.listen.port, config.admin.port)
    for document in written():
        for port in document["spec"].get("ports", ()) if document["kind"] == "Service" else ():
            assert port["targetPort"] in ports


def test_prometheus_finds_the_gateway_under_the_job_name_of_the_rules() -> None:
    monitor = the("ServiceMonitor", "vllm-gateway")["spec"]
    labels = the("Service", "vllm-gateway-admin")["metadata"]["labels"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert labels[monitor["jobLabel"]] == "vllm-gateway"
    # The service that clients use must not match too: each pod would be scraped twice.
    clients = the("Service", "vllm-gateway")["metadata"]["labels"]
    assert not monitor["selector"]["matchLabels"].items() <= clients.items()


def test_the_autoscalers_metric_is_what_the_adapter_makes_of_ours() -> None:
    (rule,) = yaml.safe_load((FOLDER / "monitoring/adapter-values.yaml").read_text("utf-8"))["rules"][
        "custom"
    ]
    (metric,) = the("HorizontalPodAutoscaler", "vllm-gateway")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert rule["seriesQuery"].startswith("vllm_gateway_replica_outstanding{")


# -- probes --


class Answers(BaseHTTPRequestHandler):
    """A gateway all of whose replicas are down."""

    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


def lives(port: int) -> bool:
    """The liveness probe of the manifest, for a gateway on this port."""
    (container,) = the("Deployment", "vllm-gateway")["spec"]["template"]["spec"]["containers"]
    python, option, script = container["livenessProbe"]["exec"]["command"]
    assert (python, option) == ("python", "-c")
    assert "8000, timeout=4" in script
    script = script.replace("8000, timeout=4", f"{port}, timeout=1")
    return subprocess.run([sys.executable, "-c", script], check=False, capture_output=True).returncode == 0


def test_a_gateway_without_replicas_is_not_restarted_and_one_that_hangs_is() -> None:
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        assert lives(server.server_port)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        assert not lives(deaf.getsockname()[1])
    assert not lives(server.server_port)


def test_every_probe_asks_the_public_health_route() -> None:
    for container in containers():
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = container.get(name, {})
            if "httpGet" in probe:
                assert probe["httpGet"] == {"path": "/health", "port": "http"}

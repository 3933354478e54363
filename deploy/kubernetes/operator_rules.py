"""Writes monitoring/rules.yaml, the rules of deploy/prometheus as the Prometheus operator wants them.

`python -m deploy.kubernetes.operator_rules`, from the root; a test says when the file is out of date.
"""

from pathlib import Path

import yaml

HERE = Path(__file__).parent
SOURCES = tuple(HERE.parent / "prometheus" / f"{name}.rules.yml" for name in ("recording", "alerts"))
TARGET = HERE / "monitoring/rules.yaml"
_HEAD = "# Written by deploy/kubernetes/operator_rules.py from deploy/prometheus/*.rules.yml: change those.\n"


def text() -> str:
    """The PrometheusRule."""
    groups = [group for source in SOURCES for group in yaml.safe_load(source.read_text("utf-8"))["groups"]]
    resource = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "vllm-gateway", "labels": {"app.kubernetes.io/name": "vllm-gateway"}},
        "spec": {"groups": groups},
    }
    return _HEAD + yaml.safe_dump(resource, sort_keys=False, width=110, allow_unicode=True)


def main() -> None:
    """Write the file."""
    TARGET.write_text(text(), encoding="utf-8")
    print(f"wrote {TARGET.name}")


if __name__ == "__main__":
    main()

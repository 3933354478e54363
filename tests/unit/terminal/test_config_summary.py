"""A valid configuration, retold."""

from gateway.config import parse
from gateway.terminal.config_summary import summary

TEXT = """
listen: :8000
workers: 4
models:
  chat:
    replicas: [http://10.0.0.1:8000]
    launch: {model: org/chat, replicas: 2}
  embed:
    launch: {model: org/embed}
"""


def test_models_to_launch_are_counted() -> None:
    assert list(summary("gw.yaml", parse(TEXT, "gw.yaml"))) == [
        "gw.yaml is valid: 2 models, 4 replicas.",
        "  listens on :8000, admin on 127.0.0.1:9090, workers: 4",
        "  chat: http://10.0.0.1:8000, 2 replicas to launch",
        "  embed: 1 replica to launch",
    ]

"""What several of these tests need: the example everybody starts from, and a way to get at the error text."""

import pytest

from gateway.config import ConfigError, parse

EXAMPLE = """\
listen: 127.0.0.1:8000
admin: 127.0.0.1:9090
workers: auto
replicas: [http://10.0.0.9:8000]          # any server: whatever it lists under /v1/models joins a pool
models:
  qwen3-8b:
    replicas: [http://10.0.0.1:8000, {url: http://10.0.0.2:8000, weight: 2, api_key_env: QWEN_KEY}]
    aliases: [gpt-4o-mini]
    limits: {outstanding_per_replica: 256, queue: 1000, queue_timeout: 30s}
    timeouts: {connect: 5s, first_byte: 600s, idle: 120s}
"""


def problems_in(text: str) -> str:
    """What the loader says about a file called g."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "g")
    return str(caught.value)

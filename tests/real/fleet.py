"""What runs during the real tests: two replicas of one model, one with an adapter more, and an embedder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import openai

from tests.real.servers import ServerOptions, VllmServer

BASE, EMBEDDING = "tiny", "tiny-embed"
SHARED_ADAPTER, RARE_ADAPTER = "lora-a", "lora-b"
ALIAS = "gpt-tiny"
EMBEDDING_KEY = "key-of-the-embedding-server"
EMBEDDING_KEY_VARIABLE = "TINY_EMBED_KEY"

# A parser for tool calls, as usual for chat models, looks at each token of every chat.
PARSER = ("--enable-auto-tool-choice", "--tool-call-parser", "hermes")
# Only then vLLM can be told to sleep, or to abort what it is doing.
DEVELOPMENT = {"VLLM_SERVER_DEV_MODE": "1"}

WITH_BOTH = ServerOptions(
    "tiny-llama",
    BASE,
    adapters={SHARED_ADAPTER: "lora-a", RARE_ADAPTER: "lora-b"},
    arguments=PARSER,
    env=DEVELOPMENT,
)
WITH_ONE = replace(WITH_BOTH, adapters={SHARED_ADAPTER: "lora-a"})
EMBEDDER = ServerOptions("tiny-bert", EMBEDDING, is_embedding=True, max_model_len=None, api_key=EMBEDDING_KEY)


@dataclass(frozen=True)
class Fleet:
    """The running vLLM servers."""

    with_both: VllmServer
    with_one: VllmServer
    embedder: VllmServer

    def config(self, **model: Any) -> Mapping[str, Any]:
        """The gateway's configuration; `model` are further options of the base model."""
        embedder = {"url": self.embedder.url, "api_key_env": EMBEDDING_KEY_VARIABLE}
        return {
            "workers": 2,
            "health": {"models_interval": "1s", "metrics_interval": "500ms"},
            # a test that broke a replica wants it back soon
            "ejection": {"base": "1s", "max": "1s", "penalty": "1s"},
            "models": {
                BASE: {"replicas": [self.with_both.url, self.with_one.url], "aliases": [ALIAS], **model},
                EMBEDDING: {"replicas": [embedder]},
            },
        }


def client_of(url: str) -> openai.OpenAI:
    """A client as users make it, except that it never retries: what fails must be seen to fail."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="the-client-s-own-key", max_retries=0, timeout=60)

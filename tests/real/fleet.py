"""What runs during the real tests: two replicas of one model, one with an adapter more, and an embedder."""

from dataclasses import dataclass

import openai

from tests.real.servers import ServerOptions, VllmServer

BASE, EMBEDDING = "tiny", "tiny-embed"
SHARED_ADAPTER, RARE_ADAPTER = "lora-a", "lora-b"
ALIAS = "gpt-tiny"
EMBEDDING_KEY = "key-of-the-embedding-server"
EMBEDDING_KEY_VARIABLE = "TINY_EMBED_KEY"

WITH_BOTH = ServerOptions("tiny-llama", BASE, adapters={SHARED_ADAPTER: "lora-a", RARE_ADAPTER: "lora-b"})
WITH_ONE = ServerOptions("tiny-llama", BASE, adapters={SHARED_ADAPTER: "lora-a"})
EMBEDDER = ServerOptions("tiny-bert", EMBEDDING, is_embedding=True, max_model_len=None, api_key=EMBEDDING_KEY)


@dataclass(frozen=True)
class Fleet:
    """The running vLLM servers."""

    with_both: VllmServer
    with_one: VllmServer
    embedder: VllmServer


def client_of(url: str) -> openai.OpenAI:
    """A client as users make it, except that it never retries: what fails must be seen to fail."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="the-client-s-own-key", max_retries=0, timeout=60)

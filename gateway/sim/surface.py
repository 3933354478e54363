"""A replica's HTTP surface: which path leads to which handler (vLLM's routes, and the simulation's own)."""

from gateway.sim import adapters, generate, messages, operations, pooling, responses, tokens, uploads
from gateway.sim.routes import Route, Routes

_COMMON: Routes = {
    "/health": Route(operations.health, ("GET",)),
    "/ping": Route(operations.health, ("GET", "POST")),
    "/version": Route(operations.version, ("GET",)),
    "/load": Route(operations.load, ("GET",)),
    "/metrics": Route(operations.show_metrics, ("GET",)),
    "/v1/models": Route(operations.models, ("GET",)),
    "/v1/load_lora_adapter": Route(adapters.load),
    "/v1/unload_lora_adapter": Route(adapters.unload),
    "/tokenize": Route(tokens.tokenize),
    "/detokenize": Route(tokens.detokenize),
    "/sleep": Route(operations.sleep),
    "/wake_up": Route(operations.wake_up),
    "/is_sleeping": Route(operations.is_sleeping, ("GET",)),
    "/abort_requests": Route(operations.abort_requests),
    "/v1/sim/echo": Route(operations.echo, inference=True),
    "/sim/requests": Route(operations.sim_requests, ("GET",)),
    "/sim/faults": Route(operations.sim_faults, ("GET", "POST", "DELETE")),
}
_GENERATING: Routes = {
    "/v1/chat/completions": Route(generate.chat, inference=True),
    "/v1/completions": Route(generate.completion, inference=True),
    "/v1/responses": Route(responses.create, inference=True),
    "/v1/messages": Route(messages.create, inference=True, anthropic=True),
    "/v1/messages/count_tokens": Route(messages.count_tokens, anthropic=True),
    "/v1/audio/transcriptions": Route(uploads.transcribe, inference=True),
    "/v1/audio/translations": Route(uploads.transcribe, inference=True),
}
_POOLING: Routes = {
    "/v1/embeddings": Route(pooling.embeddings, inference=True),
    "/pooling": Route(pooling.pool, inference=True),
    "/classify": Route(pooling.classify, inference=True),
    "/score": Route(pooling.score, inference=True),
    "/v1/score": Route(pooling.score, inference=True),
    "/rerank": Route(pooling.rerank, inference=True),
    "/v1/rerank": Route(pooling.rerank, inference=True),
    "/v2/rerank": Route(pooling.rerank, inference=True),
}


def routes_of(*, pooling: bool) -> Routes:
    """Return the routes of an embedding model or of a generating one; neither has the other's."""
    return {**_COMMON, **(_POOLING if pooling else _GENERATING)}

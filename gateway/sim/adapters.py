"""Handlers that load and unload LoRA adapters, in vLLM's words."""

from gateway.sim.body import read_json, text
from gateway.sim.errors import ApiError
from gateway.sim.routes import Call
from gateway.sim.wire import Response

MISSING = "nope"
"""No disk is looked at: a path that contains this word does not exist."""


def load(call: Call) -> Response:
    """POST /v1/load_lora_adapter: answers in plain text, without a content type."""
    body = read_json(call.request)
    name, path, state = text(body, "lora_name"), text(body, "lora_path"), call.state
    if not name or not path:
        raise ApiError(400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.")
    if name in state.options.names:
        message = f"The lora adapter '{name}' conflicts with a served base model."
        raise ApiError(400, "InvalidUserInput", message)
    if name in state.adapters and not body.get("load_inplace"):
        message = (
            f"The lora adapter '{name}' has already been loaded. If you want to load the adapter in place, "
            "set 'load_inplace' to True."
        )
        raise ApiError(400, "InvalidUserInput", message)
    if MISSING in path:
        raise ApiError(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}")
    state.adapters[name] = path
    return Response(200, f"Success: LoRA adapter '{name}' added successfully.".encode(), None)


def unload(call: Call) -> Response:
    """POST /v1/unload_lora_adapter."""
    name = text(read_json(call.request), "lora_name")
    if name not in call.state.adapters:
        raise ApiError(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
    del call.state.adapters[name]
    return Response(200, f"Success: LoRA adapter '{name}' removed successfully.".encode(), None)

"""OpenAI's two forms of a whole answer, every key in place, as vLLM 0.32 writes them."""

from typing import Any

from gateway.sim import logprobs
from gateway.sim.answer import Answer
from gateway.sim.openai_streams import ChatStream, CompletionStream, usage
from gateway.sim.text import decode


class _OpenAIBody:
    def __init__(self, fingerprint: str, pad_bytes: int = 0) -> None:
        self._fingerprint = fingerprint
        self._pad = b',"pad":"%b"' % (b"x" * pad_bytes) if pad_bytes else b""

    def _rest(self, answer: Answer) -> dict[str, Any]:
        counts = usage(answer.prompt_tokens, sum(len(choice.ids) for choice in answer.choices))
        details = {"prompt_tokens_details": None, "completion_tokens_details": None}
        return {
            "service_tier": None,
            "system_fingerprint": self._fingerprint,
            "usage": {**counts, **details},
        }

    @staticmethod
    def _head(answer: Answer, object_name: str) -> dict[str, Any]:
        return {
            "id": answer.id,
            "object": object_name,
            "created": answer.created,
            "model": answer.params.model,
        }


class ChatFormat(_OpenAIBody):
    """Format of /v1/chat/completions."""

    def stream(self, answer: Answer) -> ChatStream:
        return ChatStream(answer, self._fingerprint, self._pad)

    def body(self, answer: Answer) -> dict[str, Any]:
        params = answer.params
        choices = [
            {
                "index": choice.index,
                "message": {
                    "role": "assistant", "content": params.echo_text + "".join(choice.text), "refusal": None,
                    "annotations": None, "audio": None, "function_call": None, "reasoning": None,
                },
                "logprobs": None if params.logprobs is None else logprobs.chat(choice.ids, params.logprobs),
                "finish_reason": choice.finish_reason,
                "stop_reason": choice.stop_reason,
                "token_ids": choice.ids if params.return_token_ids else None,
                "routed_experts": None,
            }
            for choice in answer.choices
        ]  # fmt: skip
        return {
            **self._head(answer, "chat.completion"),
            "choices": choices,
            **self._rest(answer),
            "prompt_logprobs": None,
            "prompt_token_ids": params.prompts[0] if params.return_token_ids else None,
            "prompt_text": None,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }


class CompletionFormat(_OpenAIBody):
    """Format of /v1/completions."""

    def stream(self, answer: Answer) -> CompletionStream:
        return CompletionStream(answer, self._fingerprint, self._pad)

    def body(self, answer: Answer) -> dict[str, Any]:
        params = answer.params
        choices = [
            {
                "index": choice.index,
                "text": (decode(choice.prompt) if params.echo else "") + "".join(choice.text),
                "logprobs": None
                if params.logprobs is None
                else logprobs.completion(choice.ids, params.logprobs, 0),
                "finish_reason": choice.finish_reason,
                "stop_reason": choice.stop_reason,
                "token_ids": choice.ids if params.return_token_ids else None,
                "prompt_logprobs": None,
                "prompt_token_ids": choice.prompt if params.return_token_ids else None,
                "routed_experts": None,
            }
            for choice in answer.choices
        ]
        return {
            **self._head(answer, "text_completion"),
            "choices": choices,
            **self._rest(answer),
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "metrics": None,
        }

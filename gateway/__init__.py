"""vllm-gateway: one front door for many vLLM models."""

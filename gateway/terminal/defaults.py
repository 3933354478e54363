"""What commands assume when nothing is said, the same on both ends of the admin API."""

ADMIN = "127.0.0.1:9090"
TOKEN_ENV = "VLLM_GATEWAY_ADMIN_TOKEN"  # noqa: S105  (the name of a variable)
TRACEBACK_ENV = "VLLM_GATEWAY_TRACEBACK"

"""What a worker is told at its start and cannot change while it runs."""

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits and switches of the data plane; sizes in bytes, durations in seconds.

    `access_log` is None (off), `-` (standard output) or the path of a file that is appended to.
    `client_keys` are SHA-256 digests (hex) of the keys that clients must present; empty lets everybody in.
    """

    body_limit_bytes: int = 64 << 20
    body_timeout_s: float = 60.0
    header_timeout_s: float = 30.0
    header_bytes: int = 32 << 10
    header_count: int = 128
    connections: int = 16384
    keepalive_s: float = 75.0
    shutdown_grace_s: float = 60.0
    forward_authorization: bool = False
    client_keys: tuple[str, ...] = ()
    extra_routes: tuple[str, ...] = ()
    access_log: str | None = None
    resume_stream_bytes: int = 256 << 10
    resume_worker_bytes: int = 64 << 20
    hang_s: float = 120.0
    otlp_endpoint: str | None = None
    trace_sample: float = 1.0

"""What control makes of the keys that clients must present: it tells workers, warns, and prints none."""

import sys
from collections.abc import Callable
from pathlib import Path

from gateway.config import parse, resolve_secrets
from gateway.control.plane import Loaded
from gateway.control.process import Surroundings, control_plane

STUB = Path(__file__).with_name("stub_worker.py")


def loaded(text: str, **environ: str) -> Loaded:
    config = parse(f"listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nworkers: 1\n{text}", "gateway.yaml")
    return Loaded(config, resolve_secrets(config, environ, Path.read_text))


def quick(load: Callable[[], Loaded] | None = None) -> Surroundings:
    """Surroundings with a worker that relays nothing but starts quickly."""
    return Surroundings(command=lambda fd: (sys.executable, "-P", str(STUB), "good", str(fd)), load=load)


async def test_new_client_keys_need_a_restart_and_are_not_told() -> None:
    text = "replicas: [http://127.0.0.1:1]\nclient_keys_env: KEYS"
    keys = iter(["sk-one", "sk-one, sk-two"])

    def load() -> Loaded:
        return loaded(text, KEYS=next(keys))

    async with control_plane(load(), quick(load)) as plane:
        await plane.reload()
        assert plane.warnings() == (
            "the new configuration also changes the clients' keys: that needs a restart",
        )


async def test_replicas_keys_that_anybody_may_use_are_warned_of() -> None:
    text = "replicas: [{url: http://127.0.0.1:1, api_key_env: KEY}]"
    async with control_plane(loaded(text, KEY="sk"), quick()) as plane:
        (warning,) = plane.warnings()
        assert "for anybody who reaches 127.0.0.1:0" in warning
        assert [event.message for event in plane.events() if event.kind == "warning"] == [warning]
        plane.apply(plane.loaded)
        assert [event.kind for event in plane.events()].count("warning") == 1

"""The gateway as its users run it: the installed `vllm-gateway serve` in a process of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.real.guarded import GuardedProcess
from tests.real.servers import LOGS, ROOT

GATEWAY = ROOT / ".venv" / "bin" / "vllm-gateway"


class Gateway(GuardedProcess):
    """`vllm-gateway serve -c FILE` on free ports of 127.0.0.1."""

    def __init__(
        self,
        label: str,
        config: Mapping[str, Any],
        ports: tuple[int, int],
        env: Mapping[str, str],
        folder: Path,
    ) -> None:
        """Writes the config to `folder`; `ports` are the public one and the admin one."""
        public, admin = (f"127.0.0.1:{port}" for port in ports)
        path = folder / f"{label}.yaml"
        path.write_text(yaml.safe_dump({"listen": public, "admin": admin, **config}))
        command = [str(GATEWAY), "serve", "-c", str(path)]
        super().__init__(command, env, ports[0], LOGS / f"{label}.log")
        self.admin_url = f"http://{admin}"

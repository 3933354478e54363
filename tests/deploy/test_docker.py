"""The image and the compose file. There is no Docker engine here: what can be tried without one is."""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec.models import ComposeSpecification

from gateway.config import load
from gateway.control.workers import KILL_MARGIN_S
from tests.deploy.conftest import Ran
from tests.deploy.fast_motion import seconds
from tests.deploy.programs import DEPLOY, ROOT, eventually, listening, run, started, version
from tests.integration.commands import closed_port, running

pytestmark = pytest.mark.deploy

FOLDER = DEPLOY / "docker"
DOCKERFILE = (FOLDER / "Dockerfile").read_text("utf-8")
JOINED = re.sub(r"\\\n\s*", "", DOCKERFILE)
"""Each instruction on one line."""
HOME = "/opt/vllm-gateway"


def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    return document


def instruction(name: str) -> str:
    """The last instruction of this name."""
    found: str = re.findall(rf"^{name} (.*)$", JOINED, re.MULTILINE)[-1]
    return found


def copied() -> list[str]:
    """What the build takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    return [name for line in lines for name in shlex.split(line)[:-1]]


# -- the image --


def test_hadolint_has_nothing_to_say_about_the_dockerfile(ran: Ran) -> None:
    assert run("hadolint", "--failure-threshold", "style", FOLDER / "Dockerfile") == ""
    ran(f"{version('hadolint', '--version')}: the Dockerfile (no image was built: there is no Docker engine)")


def test_everything_the_build_copies_is_there_and_not_ignored() -> None:
    ignore = (FOLDER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    assert copied()
    for name in copied():
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignore


def test_the_image_runs_without_root() -> None:
    assert instruction("USER") == "10001:10001"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the build would put into the image, made by the build's own command outside a container."""
    folder = tmp_path_factory.mktemp("image")
    for name in copied():
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    home = folder / "installed"
    (step,) = re.findall(r"^RUN (.*)$", JOINED, re.MULTILINE)
    step = step.replace(HOME, str(home)).replace("python -m", f"{sys.executable} -m")
    subprocess.run(step, shell=True, check=True, cwd=folder, capture_output=True)
    return home


@pytest.mark.timeout(300)
async def test_the_builds_own_steps_give_a_gateway_that_tells_its_health(built: Path, ran: Ran) -> None:
    assert not list((built / "bin").glob("pip*"))
    port, replica_port = closed_port(), closed_port()
    words = json.loads(instruction("HEALTHCHECK").partition("CMD ")[2])
    assert words[:2] == ["python", "-c"]
    script = words[2].replace(":8000/", f":{port}/")

    async def healthy() -> bool:
        probe = await asyncio.create_subprocess_exec(
            built / "bin/python", "-c", script, stderr=asyncio.subprocess.DEVNULL
        )
        return await probe.wait() == 0

    serve = ("serve", f"http://127.0.0.1:{replica_port}", "--listen", f"127.0.0.1:{port}")
    async with started(built / "bin/vllm-gateway", *serve, "--admin", "127.0.0.1:0") as gateway:
        await listening(port, gateway)
        assert not await healthy()
        async with running("simulate", "--model", "demo", "--port", str(replica_port)):
            await eventually(healthy, 30.0, every_s=0.5)
    ran("pip and the image's HEALTHCHECK: the Dockerfile's own commands, outside a container")


# -- compose --


def test_the_compose_file_is_what_the_specification_says(ran: Ran) -> None:
    ComposeSpecification.model_validate(compose())
    ran("compose-spec: the compose file, against the specification (it was not started)")


def test_the_box_has_what_it_needs() -> None:
    services = compose()["services"]
    assert services.keys() == {"gateway", "vllm-chat", "vllm-embed", "prometheus", "grafana"}
    for name, service in services.items():
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            if source.startswith("."):
                assert (FOLDER / source).exists(), f"{name}: {source}"
            else:
                assert source in compose()["volumes"]


def test_the_gateways_replicas_are_services_under_the_names_they_serve() -> None:
    services = compose()["services"]
    for model, options in load(FOLDER / "config/gateway.yaml").models.items():
        for replica in options.replicas:
            host, port = replica.url.removeprefix("http://").split(":")
            words = services[host]["command"]
            assert words[words.index("--served-model-name") + 1] == model
            assert port == "8000"


def test_stopping_waits_for_running_answers() -> None:
    services = compose()["services"]
    grace_s = load(FOLDER / "config/gateway.yaml").shutdown_grace
    assert seconds(services["gateway"]["stop_grace_period"]) > grace_s + KILL_MARGIN_S
    for name in ("vllm-chat", "vllm-embed"):
        words = services[name]["command"]
        drain_s = int(words[words.index("--shutdown-timeout") + 1])
        assert seconds(services[name]["stop_grace_period"]) > drain_s


def test_only_the_clients_port_leaves_the_machine() -> None:
    published = [port for service in compose()["services"].values() for port in service.get("ports", ())]
    assert [port for port in published if not port.startswith("127.0.0.1:")] == ["8000:8000"]

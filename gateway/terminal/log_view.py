"""`vllm-gateway logs`: what the launched servers print, each line with its server's name."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from gateway.config import Config, load
from gateway.launch.supervision.log_files import Follower, last_lines, log_path, logged_labels
from gateway.terminal.failures import Failure, configuration_errors

CONFIG = Path("gateway.yaml")
LOOK_S = 0.2
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue")


def show_logs(model: str | None, path: Path | None, *, count: int, follow: bool) -> None:
    """Print the last lines of a model's servers, or of all; then, if asked, each new line until Ctrl-C.

    Raises:
        Failure: there is no such log.
        BadConfiguration: the configuration, which says where logs lie, can't be used.
    """
    folder = _launch_dir(path)
    labels = _labels(folder, model)
    width = max(map(len, labels))
    prefixes = [
        click.style(f"{label:{width}} | ", fg=_COLOURS[n % len(_COLOURS)]) for n, label in enumerate(labels)
    ]
    paths = [log_path(folder, label) for label in labels]
    followers = [Follower(log) for log in paths] if follow else []
    for prefix, log in zip(prefixes, paths, strict=True):
        for line in last_lines(log, count):
            click.echo(prefix + line)
    if follow:
        with suppress(KeyboardInterrupt):
            _follow(prefixes, followers)


def _follow(prefixes: Sequence[str], followers: Sequence[Follower]) -> None:
    while True:
        for prefix, follower in zip(prefixes, followers, strict=True):
            for line in follower.read():
                click.echo(prefix + line)
        time.sleep(LOOK_S)


def _labels(folder: Path, model: str | None) -> list[str]:
    """The servers of a model: its name, or that with a number for further replicas."""
    known = list(logged_labels(folder))
    labels = [label for label in known if model is None or model in (label, label.rpartition("#")[0])]
    if not labels:
        about = "" if model is None else f" of {model}"
        there = f"; there are {', '.join(known)}" if known else ""
        raise Failure(f"There is no log{about} in {folder}{there}.")
    return labels


def _launch_dir(path: Path | None) -> Path:
    if path is None and not CONFIG.exists():
        return Config().launch_dir
    with configuration_errors():
        return load(path or CONFIG).launch_dir

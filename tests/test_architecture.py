"""The house rules a reader relies on: imports run one way, pure rooms are pure, files are small."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gateway"

ORDER = ("config", "fleet", "telemetry", "proxy", "launch", "control", "terminal", "cli")
"""A room may import only rooms to its left, and itself. `version` is a constant that everybody may read."""
TERMINAL_MAY_ALSO = {"sim"}  # the demo starts simulated replicas
NOT_BY_PROXY = {"launch"}

PURE = ("fleet", "launch/memory", "launch/placement", "proxy/resume")
IMPURE_MODULES = {
    *("asyncio", "os", "random", "socket", "subprocess", "threading", "time", "aiohttp", "uvloop", "pathlib"),
}
PURE_NAMES_OF_IMPURE = {("random", "Random")}  # a type: the instance comes in as an argument

MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60

BROAD_EXCEPT_ALLOWED = {
    "proxy/gateway.py",  # the task root of a request
    "control/monitor.py",  # the task root of a replica's probes
}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported_modules(tree: ast.AST) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module, tuple(alias.name for alias in node.names)


def imported_rooms(tree: ast.AST) -> Iterator[str]:
    for module, names in imported_modules(tree):
        parts = module.split(".")
        if parts[0] != "gateway":
            continue
        if len(parts) > 1:
            yield parts[1]
        else:
            yield from names


def wrong_imports(room: str, tree: ast.AST) -> list[str]:
    """The rooms that `room` imports and must not."""
    if room == "sim":
        allowed = {"sim"}
    elif room in ORDER:
        allowed = {*ORDER[: ORDER.index(room) + 1], "version"}
        allowed |= TERMINAL_MAY_ALSO if room in {"terminal", "cli"} else set()
        allowed -= NOT_BY_PROXY if room == "proxy" else set()
    else:
        allowed = {*ORDER, "version"}
    return sorted(set(imported_rooms(tree)) - allowed)


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_imports_run_one_way(path: Path) -> None:
    assert wrong_imports(room_of(path), tree_of(path)) == []


def test_an_import_that_goes_the_wrong_way_is_noticed() -> None:
    assert wrong_imports("fleet", ast.parse("from gateway.proxy.relay import Relay")) == ["proxy"]
    assert wrong_imports("proxy", ast.parse("import gateway.control.plane")) == ["control"]
    assert wrong_imports("sim", ast.parse("from gateway.fleet import snapshot")) == ["fleet"]
    assert wrong_imports("control", ast.parse("from gateway import fleet, cli")) == ["cli"]


def impurities(tree: ast.AST) -> list[str]:
    found = []
    for module, names in imported_modules(tree):
        if module.split(".")[0] not in IMPURE_MODULES:
            continue
        if not names or any((module, name) not in PURE_NAMES_OF_IMPURE for name in names):
            found.append(module)
    return found


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_pure_rooms_touch_neither_clock_nor_socket_nor_environment(path: Path) -> None:
    name = relative(path)
    if any(name == f"{room}.py" or name.startswith(f"{room}/") for room in PURE):
        assert impurities(tree_of(path)) == []


def test_an_impurity_is_noticed() -> None:
    assert impurities(ast.parse("import time")) == ["time"]
    assert impurities(ast.parse("from random import Random")) == []
    assert impurities(ast.parse("from random import random")) == ["random"]


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_files_and_functions_fit_in_a_reader_s_head(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES
    long = [
        f"{node.name}: {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []


def is_broad(handler: ast.ExceptHandler) -> bool:
    reraises = any(isinstance(node, ast.Raise) for node in ast.walk(handler))
    return not reraises and (
        handler.type is None
        or (isinstance(handler.type, ast.Name) and handler.type.id in {"Exception", "BaseException"})
    )


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_no_error_is_swallowed_and_nothing_is_global(path: Path) -> None:
    tree = tree_of(path)
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Global)]
    if relative(path) not in BROAD_EXCEPT_ALLOWED:
        handlers = [
            node.lineno for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler) and is_broad(node)
        ]
        assert handlers == []


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_imports_stand_at_the_top(path: Path) -> None:
    if room_of(path) == "cli":
        return
    functions = [n for n in ast.walk(tree_of(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    hidden = [
        node.lineno
        for f in functions
        for node in ast.walk(f)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert hidden == []


def test_there_is_no_room_for_odds_and_ends() -> None:
    forbidden = {"utils", "util", "helpers", "common", "misc"}
    assert not [relative(path) for path in sources() if path.stem in forbidden]


def test_importing_the_proxy_brings_no_launcher_and_no_command_line() -> None:
    # What a worker loads is what every request's memory pays for.
    heavy = ("pydantic", "click", "rich", "yaml")
    code = f"import sys, gateway.proxy.worker; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    assert done.stdout.strip() == "[]"

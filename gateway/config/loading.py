"""From a file, a text or a list of URLs to a `Config`, or to one `ConfigError` with everything that is wrong.

Reads the one file it is given and nothing else: no environment, no other files (see `credentials`).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from gateway.config.crosscheck import Finding, crosscheck
from gateway.config.document import Document, original_path, without
from gateway.config.errors import ConfigError, KeyPath, Problem, dotted, shown
from gateway.config.explain import explain, refused_paths
from gateway.config.schema import Config
from gateway.config.yaml_text import read_yaml

Overrides = Mapping[str, object]
"""Top-level options that replace the file's, as plain data; None leaves the file's. For a command line."""


def load(path: Path, overrides: Overrides | None = None) -> Config:
    """Read a configuration file. Relative paths in it start at its folder.

    Raises:
        ConfigError: the file can't be read, isn't YAML, or doesn't say a valid configuration.
    """
    config = parse(_read_text(path), str(path), overrides)
    folder = path.parent
    moved: dict[str, object] = {"launch_dir": folder / config.launch_dir}
    if config.admin_token_file is not None:
        moved["admin_token_file"] = folder / config.admin_token_file
    if config.client_keys_file is not None:
        moved["client_keys_file"] = folder / config.client_keys_file
    if isinstance(config.access_log, Path):
        moved["access_log"] = folder / config.access_log
    return config.model_copy(update=moved)


def parse(text: str, source: str, overrides: Overrides | None = None) -> Config:
    """Read a configuration from YAML text; `source` is the name that errors begin with.

    Raises:
        ConfigError: the text isn't YAML or doesn't say a valid configuration.
    """
    document = read_yaml(text, source)
    if document.data is None and not document.problems:
        raise ConfigError(
            source, [Problem((), None, "is empty", "list servers under 'replicas' or 'models'")]
        )
    if not isinstance(document.data, dict):
        message = f"must be a section with keys such as replicas and models, not {shown(document.data)}"
        raise ConfigError(source, document.problems or [Problem((), 1, message)])
    changed = {key: value for key, value in (overrides or {}).items() if value is not None}
    lines = {path: line for path, line in document.lines.items() if path[0] not in changed}
    return _build(Document({**document.data, **changed}, lines, document.problems), source)


def from_urls(urls: Sequence[str], **overrides: object) -> Config:
    """A configuration for servers given on the command line; what they serve is found out from them.

    Raises:
        ConfigError: no URL at all, one that is not valid, or an invalid override.
    """
    changed = {key: value for key, value in overrides.items() if value is not None}
    return _build(Document({"replicas": list(urls), **changed}), "command line")


def _build(document: Document, source: str) -> Config:
    """Validate, then cross-check what is valid, so that one run reports both kinds of problems."""
    config, refused, unwanted = _validate(document)
    problems = [*document.problems, *refused, *_contradictions(config, document, unwanted)]
    if problems:
        raise ConfigError(source, problems)
    return config


def _validate(document: Document) -> tuple[Config, list[Problem], frozenset[KeyPath]]:
    """The valid part as a configuration, the problems of the rest, and the paths that were left out.

    Leaving out a value may make its section invalid (a replica without URL), which is then left out in turn.
    Each round leaves out at least one value that is there, so the rounds end, at worst with no option set.
    """
    unwanted: frozenset[KeyPath] = frozenset()
    problems: list[Problem] | None = None
    while True:
        left = Document(without(document.data, unwanted))
        try:
            config = Config.model_validate(left.data)
        except ValidationError as error:
            if problems is None:
                problems = explain(error, document, Config)
            refused = (left.innermost(path) for path in refused_paths(error))
            unwanted |= {original_path(path, unwanted) for path in refused}
        else:
            return config, problems or [], unwanted


def _contradictions(config: Config, document: Document, unwanted: frozenset[KeyPath]) -> list[Problem]:
    refused = unwanted | {problem.path for problem in document.problems}
    findings = [finding for finding in crosscheck(config) if not _rests_on(finding, refused)]
    return [_located(finding, document, unwanted) for finding in findings]


def _rests_on(finding: Finding, refused: frozenset[KeyPath]) -> bool:
    return any(path[: len(needed)] == needed for needed in finding.depends_on for path in refused)


def _located(finding: Finding, document: Document, unwanted: frozenset[KeyPath]) -> Problem:
    path = original_path(finding.path, unwanted)
    message = finding.message
    if finding.other is not None:
        other = original_path(finding.other, unwanted)
        line = document.line(other)
        message += f": see {dotted(other)}" + (f" on line {line}" if line is not None else "")
    return Problem(path, document.line(path), message, finding.hint)


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        problem = Problem((), None, "there is no such file")
    except IsADirectoryError:
        problem = Problem((), None, "is a folder, not a file")
    except OSError as error:
        problem = Problem((), None, f"can't be read: {(error.strerror or str(error)).lower()}")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        problem = Problem((), line, "is not UTF-8 text", "save it as UTF-8")
    raise ConfigError(str(path), [problem])

"""YAML text to a `Document`: plain data, lines, and the problems of the text itself.

Reads what a configuration needs: plain values, sections, lists, anchors. Never builds objects from tags.
"""

import re

import yaml

from gateway.config.document import Document
from gateway.config.errors import ConfigError, Invalid, KeyPath, Problem, shown

MOST_VALUES = 100_000
"""Far above any real configuration; aliases of aliases reach it in a few lines ("billion laughs")."""
DEEPEST = 24
"""Levels of nesting; the schema uses 6. An anchor that contains itself has no end."""

_TAG = "tag:yaml.org,2002:"
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_SYNTAX_HINTS = (
    (re.compile(r"found character '\\t'"), "indent with spaces, not tabs"),
    (re.compile(r"expected <block end>|expected '<document start>'"), "check the indentation"),
    (re.compile("mapping values are not"), "check the indentation, or quote a value that contains ': '"),
    (re.compile("expected the node content"), 'put a value such as "[::1]:8000" in quotes'),
    (re.compile("found unexpected end of stream"), "close the quotes"),
    (
        re.compile("that cannot start any token|alias"),
        "put a value that begins with @, `, %, & or * in quotes",
    ),
)


def read_yaml(text: str, source: str) -> Document:
    """Parse the text; an empty one gives a document whose data is None.

    Raises:
        ConfigError: the text isn't YAML, or too large or deep to be a configuration.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        problem = _syntax_problem(error, text)
    except RecursionError:
        problem = Problem((), None, "is nested too deeply")
    except (ValueError, OverflowError):  # PyYAML passes an escape such as "\UFFFFFFFF" to chr() unchecked
        problem = Problem((), None, "not valid YAML: a character escape is out of range")
    else:
        reader = _Reader(source)
        data = None if root is None else reader.value(root, ())
        return Document(data, reader.lines, tuple(reader.problems))
    raise ConfigError(source, [problem])


class _Reader:
    """Walks the node tree once, collecting lines and problems on the way."""

    def __init__(self, source: str) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._source = source
        self._values_read = 0

    def value(self, node: yaml.Node, path: KeyPath) -> object:
        self._values_read += 1
        if len(path) > DEEPEST:
            self._give_up(path[:1], node, f"is nested more than {DEEPEST} levels deep")
        if self._values_read > MOST_VALUES:
            self._give_up((), node, f"has more than {MOST_VALUES} values, aliases expanded")
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._section(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return self._list(node, path)
        try:
            return _scalar(node)
        except Invalid as error:
            self._note(path, node, error.message, error.hint)
            return None

    def _section(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        section: dict[str, object] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._note(path, key_node, "a key must be a single word, not a list or a section")
                continue
            if key_node.tag == f"{_TAG}merge":
                self._note(path, key_node, "'<<' is not supported", "put what models share under 'defaults'")
                continue
            key = str(key_node.value)  # as written: a model may be called 7b, 1.5 or no
            place = (*path, key)
            if key in section:
                message = f"is given twice, first on line {self.lines[place]}"
                self._note(place, key_node, message, "keep one of them")
                continue
            self.lines[place] = _line(key_node)
            section[key] = self.value(value_node, place)
        return section

    def _list(self, node: yaml.SequenceNode, path: KeyPath) -> list[object]:
        items: list[object] = []
        for index, item in enumerate(node.value):
            self.lines[*path, index] = _line(item)
            items.append(self.value(item, (*path, index)))
        return items

    def _note(self, path: KeyPath, node: yaml.Node, message: str, hint: str = "") -> None:
        self.problems.append(Problem(path, _line(node), message, hint))

    def _give_up(self, path: KeyPath, node: yaml.Node, message: str) -> None:
        self._note(path, node, message)
        raise ConfigError(self._source, self.problems)


def _scalar(node: yaml.Node) -> object:
    """The value of a plain word, by YAML 1.1 as PyYAML resolves it, less its traps.

    Neither numbers nor dates but text: 1:30 (90 in YAML 1.1), 010 (8), 0x10 (16), 2024-01-31.
    """
    kind, text = node.tag.removeprefix(_TAG), node.value
    match kind:
        case "null":
            return None
        case "bool":
            return _boolean(text)
        case "int" if _DECIMAL.fullmatch(text):
            return _number(int, text)
        case "float" if ":" not in text:
            return _number(float, text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        case "str" | "int" | "float" | "timestamp" | "value":
            return text
        case _:
            raise Invalid(f"the tag {shown(node.tag)} is not supported", "remove it")


def _boolean(text: str) -> bool:
    try:
        return yaml.SafeLoader.bool_values[text.lower()]
    except KeyError:  # !!bool maybe
        raise Invalid(f"{shown(text)} is not true or false") from None


def _number(kind: type[int] | type[float], text: str) -> int | float:
    try:
        return kind(text.replace("_", ""))
    except ValueError:  # !!float x, or more digits than Python converts
        raise Invalid(f"{shown(text)} is not a number") from None


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _syntax_problem(error: yaml.YAMLError, text: str) -> Problem:
    if isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        column = error.position - (before.rfind("\n") + 1) + 1
        character = f"the character U+{ord(text[error.position]):04X} is not allowed"
        return Problem((), before.count("\n") + 1, f"not valid YAML at column {column}: {character}")
    mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if mark is None:
        return Problem((), None, "not valid YAML")
    what = getattr(error, "problem", None) or "unexpected end"
    hint = next((hint for pattern, hint in _SYNTAX_HINTS if pattern.search(what)), "")
    return Problem((), mark.line + 1, f"not valid YAML at column {mark.column + 1}: {what}", hint)

"""What the schema refuses, in our words: pydantic's errors become `Problem`s with lines and hints. Pure."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.document import Document
from gateway.config.errors import Invalid, KeyPath, Problem, shown

_Said = tuple[str, str]
"""A message and a hint."""
_CLOSE = 0.7  # finds 'idel' for idle; below it, aliases looks like replicas


def explain(error: ValidationError, document: Document, root: type[BaseModel]) -> list[Problem]:
    """One problem per error, at its place in the document."""
    problems = []
    for details in error.errors(include_url=False):
        path = _place(details)
        if details["type"] == "extra_forbidden":
            message, hint = _unknown_key(path, root)
        else:
            message, hint = _say(details)
        problems.append(Problem(path, document.line(path), message, hint))
    return problems


def refused_paths(error: ValidationError) -> list[KeyPath]:
    """Where the refused values are, or (a required key that is missing) should be."""
    return [_place(details) for details in error.errors(include_url=False)]


def _place(details: ErrorDetails) -> KeyPath:
    """The value's path: pydantic adds '[key]' where the key itself is refused."""
    location = tuple(details["loc"])
    return location[:-1] if location and location[-1] == "[key]" else location


def _say(details: ErrorDetails) -> _Said:
    context = details.get("ctx", {})
    refusal = context.get("error")
    if isinstance(refusal, Invalid):
        return refusal.message, refusal.hint
    sentence = _SENTENCES.get(details["type"])
    if sentence is None:
        return f"{shown(details['input'])}: {details['msg']}", ""
    return sentence(shown(details["input"]), context)


def _section(value: str, _: Mapping[str, Any]) -> _Said:
    return f"{value} is not a section", "write 'name: value' lines below it"


def _literal(value: str, context: Mapping[str, Any]) -> _Said:
    return f"{value} is not one of {context['expected']}", ""


_SENTENCES: Mapping[str, Callable[[str, Mapping[str, Any]], _Said]] = {
    "missing": lambda _, __: ("is missing", ""),
    "int_type": lambda value, _: (f"{value} is not a whole number", ""),
    "float_type": lambda value, _: (f"{value} is not a number", ""),
    "finite_number": lambda value, _: (f"{value} is not a finite number", ""),
    "bool_type": lambda value, _: (f"{value} is not true or false", ""),
    "tuple_type": lambda value, _: (f"{value} is not a list", "write [one, two], or one '- item' per line"),
    "dict_type": _section,
    "mapping_type": _section,
    "model_type": _section,
    "literal_error": _literal,
    "too_short": lambda _, __: ("must not be empty", ""),
    "greater_than": lambda value, context: (f"must be more than {context['gt']:g}, not {value}", ""),
    "greater_than_equal": lambda value, context: (f"must be at least {context['ge']:g}, not {value}", ""),
    "less_than_equal": lambda value, context: (f"must be at most {context['le']:g}, not {value}", ""),
}


# -- unknown keys --


def _unknown_key(path: KeyPath, root: type[BaseModel]) -> _Said:
    section = _section_at(path[:-1], root)
    key = str(path[-1])
    known = list(section.model_fields)
    if inner := _where_known(key, section):
        return "unknown key", f"it belongs under '{inner}'"
    if close := get_close_matches(key.replace("-", "_"), known, n=1, cutoff=_CLOSE):
        return "unknown key", f"did you mean '{close[0]}'?"
    return "unknown key", f"known here: {', '.join(known)}"


def _section_at(path: Sequence[str | int], root: type[BaseModel]) -> type[BaseModel]:
    section, inside_container = root, False
    for token in path:
        if inside_container:  # the token is a list position or a chosen name: the section stays
            inside_container = False
            continue
        annotation = section.model_fields[str(token)].annotation
        section = _section_in(annotation) or section
        inside_container = _is_container(annotation)
    return section


def _section_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)


def _is_container(annotation: object) -> bool:
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, tuple | Mapping):
        return True
    return any(_is_container(part) for part in get_args(annotation))


def _where_known(key: str, section: type[BaseModel]) -> str | None:
    """The subsection that has this key, when the file has it one level too high."""
    for name, field in section.model_fields.items():
        inner = _section_in(field.annotation)
        if inner is not None and not _is_container(field.annotation) and key in inner.model_fields:
            return name
    return None

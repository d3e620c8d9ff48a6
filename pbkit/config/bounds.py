"""
From the fields of a frozen class to keys of a configuration file: what the class has can be set, with its types.

A field that is added to such a class can be set in a file from then on, without a word here. The types that a file has
are `bool`, `int`, `float` and `str`, each also in a union with None; and other such classes, which are tables.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs

from pbkit.config.values import Path, Problems, ServerConfig, nearest

_SIMPLE = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


def settable(cls: type) -> dict[str, tuple[type, ...]]:
    """
    :param cls: made by attrs.
    :return: by name, the types of the fields that a file can set: one class of attrs' by itself, or simple ones. Not of
        a field called ``name``, which only says how a preset is called.
    """
    hints = get_type_hints(cls)
    found = {}
    for field in attrs.fields(cls):
        if field.name == "name":
            continue
        hint = hints[field.name]
        union = get_origin(hint) in (Union, types.UnionType)
        kinds = tuple(kind for kind in (get_args(hint) if union else (hint,)) if kind is not type(None))
        if all(kind in _SIMPLE for kind in kinds) or (len(kinds) == 1 and attrs.has(kinds[0])):
            found[field.alias] = kinds
    return found


def evolved(preset: Any, given: Mapping[str, Any], config: ServerConfig, problems: Problems, *path: str) -> Any:
    """
    A frozen object with some of its fields otherwise.

    :param preset: the object; it is left as it is.
    :param given: by name, the values of a file.
    :param config: knows where they come from.
    :param problems: takes in what is wrong: a name that there is not, a type that it is not, a value that the class
        itself refuses.
    :param path: where in the file they stand.
    """
    known = settable(type(preset))
    for name, value in given.items():
        origin = config.origin(*path, name)
        key = ".".join((*path, name))
        if name not in known:
            problems.add(
                f"{key}: unknown{nearest(name, known) or '.'} [{'.'.join(path)}] takes {', '.join(known)}", origin
            )
        elif attrs.has(known[name][0]):
            if isinstance(value, dict):
                preset = attrs.evolve(
                    preset, **{name: evolved(getattr(preset, name), value, config, problems, *path, name)}
                )
            else:
                problems.add(f"{key}: it is a table: write [{key}]", origin)
        elif not _fits(value, known[name]):
            wanted = " or ".join(_SIMPLE[kind] for kind in known[name])
            example = toExample(getattr(preset, name), known[name])
            problems.add(f"{key}={value!r:.60}: it takes {wanted}, for example {name} = {example}", origin)
        else:
            try:
                preset = attrs.evolve(preset, **{name: value})
            except (ValueError, TypeError) as e:
                problems.add(f"{key}={value!r:.60}: {' '.join(str(e).split())}", origin)
    return preset


def _fits(value: Any, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, kinds)


def toExample(value: Any, kinds: tuple[type, ...]) -> str:
    """
    :return: a value of one of these types as a file has it: this one, if it is not None.
    """
    if value is None:
        value = {bool: True, int: 1, float: 1.0, str: "text"}[kinds[0]]
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def leaves(value: Any, *path: str) -> Iterator[tuple[Path, Any]]:
    """
    :return: each simple value of a frozen object that a file can set, with its path; those that are None are left out.
    """
    for name, kinds in settable(type(value)).items():
        inner = getattr(value, name)
        if attrs.has(kinds[0]):
            yield from leaves(inner, *path, name)
        elif inner is not None:
            yield (*path, name), inner

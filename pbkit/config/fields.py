"""
The fields of a frozen attrs class as keys of a configuration file.

A field added to such a class, for example to `pbkit.wire.profile.Limits`, becomes a key of the file without a change
here. A key can have the types `bool`, `int`, `float` and `str`, also in a union with None; a field of another such
class is a table.
"""

from __future__ import annotations

import math
import types
from collections.abc import Iterator, Mapping
from typing import TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from pbkit.config.values import Path, Problems, ServerConfig, nearest
from pbkit.errors import ConfigError, shownValue

T = TypeVar("T", bound=attrs.AttrsInstance)

_EXPECTED: dict[type, str] = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def settableFields(cls: type) -> dict[str, tuple[type, ...]]:
    """
    Return the types of each field that a file can set: one attrs class, or simple types.

    The field ``name`` is left out, because it only names a preset.

    :param cls: an attrs class.
    """
    hints = get_type_hints(cls)
    found = {}
    for field in attrs.fields(cls):
        if field.name == "name":
            continue
        hint = hints[field.name]
        union = get_origin(hint) in (Union, types.UnionType)
        kinds = tuple(kind for kind in (get_args(hint) if union else (hint,)) if kind is not type(None))
        if all(kind in _EXPECTED for kind in kinds) or (len(kinds) == 1 and attrs.has(kinds[0])):
            found[field.alias] = kinds
    return found


def withSettings(preset: T, given: Mapping[str, object], config: ServerConfig, problems: Problems, *path: str) -> T:
    """
    Return a copy of a frozen attrs object with the given fields changed.

    :param preset: the object, which is not modified.
    :param given: the new values by key, as a file has them.
    :param config: knows the origin of each value.
    :param problems: collects the errors: an unknown key, a wrong type, a value that the class itself rejects.
    :param path: the position of the table in the file.
    """
    known = settableFields(type(preset))
    for name, value in given.items():
        origin = config.origin(*path, name)
        key = ".".join((*path, name))
        if name not in known:
            keys = f"Keys of [{'.'.join(path)}]: {', '.join(known)}"
            problems.add(f"unknown key {key}{nearest(name, known) or '.'} {keys}", origin)
        elif attrs.has(known[name][0]):
            if isinstance(value, dict):
                inner = withSettings(getattr(preset, name), value, config, problems, *path, name)
                preset = attrs.evolve(preset, **{name: inner})  # type: ignore[misc]
            else:
                problems.add(str(ConfigError.invalid(key, shownValue(value), f"a table, [{key}]")), origin)
        elif not _fits(value, known[name]):
            expected = " or ".join(_EXPECTED[kind] for kind in known[name])
            example = f"{name} = {exampleOf(getattr(preset, name), known[name])}"
            problems.add(str(ConfigError.invalid(key, shownValue(value), expected, example)), origin)
        else:
            try:
                preset = attrs.evolve(preset, **{name: value})  # type: ignore[misc]
            except (ValueError, TypeError) as e:
                problems.add(f"invalid {key}: got {shownValue(value)}: {' '.join(str(e).split())}", origin)
    return preset


def _fits(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, int) and float in kinds:
        return True
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return isinstance(value, kinds)


def exampleOf(value: object, kinds: tuple[type, ...]) -> str:
    """Return a value of one of these types in TOML: the given one, unless it is None."""
    if value is None:
        value = {bool: True, int: 1, float: 1.0, str: "text"}[kinds[0]]
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


def settingsOf(value: object, *path: str) -> Iterator[tuple[Path, object]]:
    """
    Yield each simple value of a frozen attrs object that a file can set, with its path. Values that are None are
    skipped, because TOML has no null.
    """
    for name, kinds in settableFields(type(value)).items():
        inner = getattr(value, name)
        if attrs.has(kinds[0]):
            yield from settingsOf(inner, *path, name)
        elif inner is not None:
            yield (*path, name), inner

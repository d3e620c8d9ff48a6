"""
The limits of `pbkit.wire.profile` as rows of tables: name, defaults and meaning of each field.

They are read from the classes and their docstrings, so the page cannot differ from the code. This module does not
import Sphinx, so that a test can use it.
"""

import inspect
import re

import attrs

from pbkit.wire.profile import DROPIN, KIB, MIB, STRICT, Profile

#: The fields of a profile that are tables of limits: in a configuration file, ``[profile.limits]`` and so on.
TABLES = [field.name for field in attrs.fields(Profile) if attrs.has(type(getattr(STRICT, field.name)))]


def shown(value: object) -> str:
    """
    Return a value in a form for people, such as ``4 MiB``.
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g} s"
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if isinstance(value, int) and value >= unit and value % unit == 0 and value != 1024:
            return f"{value // unit} {name}"
    return f"{value:,}"


def meanings(cls: type) -> dict[str, str]:
    """
    Return the texts of the fields in the docstring of a class, by field.
    """
    fields = re.split(r"^:ivar (\w+): ", inspect.getdoc(cls) or "", flags=re.M)[1:]
    return {name: " ".join(text.split()) for name, text in zip(fields[::2], fields[1::2], strict=True)}


def about(table: str) -> str:
    """
    Return the docstring of a table, up to its fields.
    """
    text = inspect.getdoc(type(getattr(STRICT, table))) or ""
    return " ".join(text.partition(":ivar")[0].split())


def rows(table: str = "") -> list[tuple[str, str, str, str]]:
    """
    Return the name of each field, its default in a strict and in a drop-in server, and its meaning.

    :param table: one of `TABLES`, or "" for the fields of the profile itself.
    """
    strict, dropin = (getattr(one, table) if table else one for one in (STRICT, DROPIN))
    told = meanings(type(strict))
    names = [field.name for field in attrs.fields(type(strict)) if table or field.name not in ("name", *TABLES)]
    return [(name, shown(getattr(strict, name)), shown(getattr(dropin, name)), told[name]) for name in names]

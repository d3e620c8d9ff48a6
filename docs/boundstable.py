"""
The bounds of `pbkit.wire.profile`, as rows of tables: what a field is called, what it is by default, what it means.

Read from the classes and their docstrings, so that a page made from it says what is so. Imports nothing of Sphinx's, so
that a test can look at it.
"""

import inspect
import re

import attrs

from pbkit.wire.profile import DROPIN, KIB, MIB, STRICT, Profile

#: The fields of a profile that are tables of bounds: in a configuration file, ``[profile.limits]`` and so on.
TABLES = [field.name for field in attrs.fields(Profile) if attrs.has(type(getattr(STRICT, field.name)))]


def shown(value: object) -> str:
    """
    :return: a value as people read it.
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
    :return: by field, what the docstring of a class says of it.
    """
    fields = re.split(r"^:ivar (\w+): ", inspect.getdoc(cls) or "", flags=re.M)[1:]
    return {name: " ".join(text.split()) for name, text in zip(fields[::2], fields[1::2], strict=True)}


def about(table: str) -> str:
    """
    :return: what the docstring of a table says before it comes to its fields.
    """
    text = inspect.getdoc(type(getattr(STRICT, table))) or ""
    return " ".join(text.partition(":ivar")[0].split())


def rows(table: str = "") -> list[tuple[str, str, str, str]]:
    """
    :param table: one of `TABLES`; "" for the fields of the profile itself.
    :return: of each field the name, the value in a strict server and in a drop-in one, and what it means.
    """
    strict, dropin = (getattr(one, table) if table else one for one in (STRICT, DROPIN))
    told = meanings(type(strict))
    names = [field.name for field in attrs.fields(type(strict)) if table or field.name not in ("name", *TABLES)]
    return [(name, shown(getattr(strict, name)), shown(getattr(dropin, name)), told[name]) for name in names]

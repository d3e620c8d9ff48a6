"""
What a realm can be told, declared once.

A realm class declares its parameters as class attributes::

    class LimitedRealm(Realm):
        max: int = param(3, "how many sessions one user may have at a time", minimum=1)

and the constructor, the command line, the configuration file and the docs are derived from that. A
subclass gives another default by assigning a plain value: ``max = 5``.

One that is declared with ``perUser=True`` may depend on the avatar id. Then it takes a table as well,
``{"default": 1, "alice": 5}``, in which whoever is not named has the default; or a function of the avatar id.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar, cast

import attrs

from pbkit.errors import ConfigError, shownValue

T = TypeVar("T", int, float, str)

#: A value of a parameter that may depend on the avatar id.
PerUser: TypeAlias = T | Mapping[str, T] | Callable[[str], Any]

#: In a table by avatar id: what holds for those who are not named.
DEFAULT = "default"


@attrs.define
class Parameter:
    """
    One parameter of a realm.

    :ivar name: the attribute's name, which is the key on the command line too.
    :ivar type: int, float or str.
    :ivar choices: the only values there are, or an empty tuple.
    :ivar minimum: the least number that makes sense, or None.
    :ivar maximum: the greatest, or None.
    :ivar perUser: whether it may be a table by avatar id, or a function of that.
    """

    default: Any
    doc: str
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    name: str = ""
    perUser: bool = False
    _kind: Any = None

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @property
    def type(self) -> type[int] | type[float] | type[str]:
        """The type of the value, as the first default has it: a subclass may have a table for another."""
        return cast("type[int] | type[float] | type[str]", self._kind or type(self.default))

    def parse(self, text: str) -> Any:
        """
        The value that a text means.

        :raises ConfigError: it means none; the message says what would be right.
        """
        try:
            return self.check(self.type(text))
        except ConfigError:
            raise
        except ValueError:
            raise self._invalid(self.name, repr(text), f"{self.name}={self._usual()}") from None

    def check(self, value: Any) -> Any:
        """
        The value itself, if it can be one of this parameter.

        :raises ConfigError: it cannot; the message says what would be right.
        """
        if self.perUser and isinstance(value, Mapping):
            return self._table(value)
        # What a function returns is looked at when it is asked.
        return value if self.perUser and callable(value) else self._one(value, self.name)

    def _table(self, table: Mapping[Any, Any]) -> dict[str, Any]:
        found = {DEFAULT: self._usual(), **table}
        for name, value in found.items():
            if not isinstance(name, str):
                raise ConfigError.invalid(f"user name in {self.name}", shownValue(name), "a string")
            found[name] = self._one(value, f"{self.name}.{name}")
        return found

    def _usual(self) -> Any:
        """Return the default for users that a table does not name."""
        return self.default.get(DEFAULT) if isinstance(self.default, Mapping) else self.default

    def _one(self, value: Any, name: str) -> Any:
        wanted = (int, float) if self.type is float else (self.type,)
        right = isinstance(value, wanted) and not isinstance(value, bool)
        if right and self.choices:
            right = value in self.choices
        if right and self.type is float:
            right = abs(value) <= sys.float_info.max  # False of infinity and of NaN; an int may be larger.
        if right and self.type is not str:
            right = self.minimum is None or value >= self.minimum
            right = right and (self.maximum is None or value <= self.maximum)
        if not right:
            usual = self._usual()
            raise self._invalid(
                name, shownValue(value), f'{name} = "{usual}"' if self.type is str else f"{name} = {usual}"
            )
        return self.type(value)

    def _invalid(self, name: str, got: str, example: str) -> ConfigError:
        perUser = ", or a table of these by user" if self.perUser else ""
        if self.choices:
            return ConfigError.invalid(name, got, f"one of {', '.join(map(str, self.choices))}{perUser}", example)
        kind = {int: "an integer", float: "a number", str: "a string"}[self.type]
        least = "" if self.minimum is None else f" of at least {self.minimum:g}"
        most = "" if self.maximum is None else f" and at most {self.maximum:g}"
        return ConfigError.invalid(name, got, f"{kind}{least}{most}{perUser}", example)


def param(
    default: T,
    doc: str,
    *,
    choices: tuple[T, ...] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    perUser: bool = False,
) -> T:
    """
    Declare a parameter in the body of a realm class.

    :param default: its default, which gives its type: int, float or str.
    :param doc: one line that says what it does, with its unit.
    :param choices: the only values there are.
    :param minimum: the least number that makes sense.
    :param maximum: the greatest.
    :param perUser: whether it may depend on the avatar id; `forUser` says what holds for one.
    :return: to the type checker, the value; in truth a `Parameter`, which `bind` turns into one.
    """
    return cast(T, Parameter(default, doc, choices, minimum, maximum, "", perUser, type(default)))


def parametersOf(realmClass: type) -> dict[str, Parameter]:
    """
    The parameters of a realm class, the base classes' first, with the defaults that hold for it.

    :raises ConfigError: a subclass gives a default that cannot be.
    """
    found: dict[str, Parameter] = {}
    for base in reversed(realmClass.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Parameter):
                found[name] = value
            elif name in found:
                found[name] = attrs.evolve(found[name], default=found[name].check(value))
    return found


def bind(realm: object, given: dict[str, Any]) -> None:
    """
    Set the parameters of a realm as attributes: what was given, else the default.

    :raises ConfigError: an unknown name, with those that there are; or a value that cannot be.
    """
    known = parametersOf(type(realm))
    for name in given:
        if name not in known:
            parameters = f"Parameters: {', '.join(known) or 'none'}"
            raise ConfigError(f"unknown parameter {name!r} of {type(realm).__name__}. {parameters}")
    for name, parameter in known.items():
        setattr(realm, name, parameter.check(given[name]) if name in given else parameter.default)


def forUser(value: Any, avatarId: str) -> Any:
    """
    What holds for one avatar id, of a parameter that may depend on that.

    :param value: the plain value, a table, or a function.
    """
    if isinstance(value, Mapping):
        return value.get(avatarId, value[DEFAULT])
    return value(avatarId) if callable(value) else value

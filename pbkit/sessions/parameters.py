"""
The parameters of realms.

A realm class declares them as class attributes::

    class LimitedRealm(Realm):
        max: int = param(3, "how many sessions one user may have at a time", minimum=1)

The constructor, the command line, the configuration file and the docs are derived from that declaration. A subclass
sets another default by assigning a plain value: ``max = 5``.

A parameter that is declared with ``perUser=True`` may depend on the avatar id. It also takes a table,
``{"default": 1, "alice": 5}``, whose "default" is for all other users; or a function of the avatar id.
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

#: The key of a table by avatar id that is for all other users.
DEFAULT = "default"


@attrs.define
class Parameter:
    """
    One parameter of a realm.

    :ivar name: the name of the attribute, which is also the key on the command line.
    :ivar type: int, float or str.
    :ivar choices: the allowed values, or an empty tuple.
    :ivar minimum: the least number that is allowed, or None.
    :ivar maximum: the greatest number that is allowed, or None.
    :ivar perUser: whether a table by avatar id or a function of the avatar id is allowed.
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
        """The type of the value. It is that of the first default, because the default of a subclass may be a table."""
        return cast("type[int] | type[float] | type[str]", self._kind or type(self.default))

    def parse(self, text: str) -> Any:
        """
        Return the value that a text stands for.

        :raises ConfigError: it stands for none, or is not allowed.
        """
        try:
            return self.check(self.type(text))
        except ConfigError:
            raise
        except ValueError:
            raise self._invalid(self.name, repr(text), f"{self.name}={self._usual()}") from None

    def check(self, value: Any) -> Any:
        """
        Return a value converted to the type of this parameter.

        :raises ConfigError: it is not allowed.
        """
        if self.perUser and isinstance(value, Mapping):
            return self._table(value)
        # What a function returns is checked when it is called.
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
            right = (
                abs(value) <= sys.float_info.max
            )  # False for infinity and NaN, and for an int that no float can hold.
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
    :param doc: one line on what it does, with its unit.
    :param choices: the allowed values.
    :param minimum: the least number that is allowed.
    :param maximum: the greatest number that is allowed.
    :param perUser: whether it may depend on the avatar id; `forUser` returns the value for one.
    :return: a `Parameter`, which `bind` replaces by a value; to the type checker, the value.
    """
    return cast(T, Parameter(default, doc, choices, minimum, maximum, "", perUser, type(default)))


def parametersOf(realmClass: type) -> dict[str, Parameter]:
    """
    Return the parameters of a realm class, those of its base classes first, with the class's own defaults.

    :raises ConfigError: a default is not allowed.
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
    Set the parameters of a realm as attributes.

    :param given: values by name; the other parameters get their defaults.
    :raises ConfigError: a name is unknown, or a value is not allowed.
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
    Return the value of a parameter for one avatar id.

    :param value: a plain value, a table, or a function.
    """
    if isinstance(value, Mapping):
        return value.get(avatarId, value[DEFAULT])
    return value(avatarId) if callable(value) else value

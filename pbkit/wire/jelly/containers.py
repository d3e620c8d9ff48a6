"""
What holds other things: lists, tuples, sets and dictionaries, and what is in them twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.persisted.crefutil import NotKnown, _Dereference
from twisted.spread import jelly, pb

from pbkit.errors import BadValue
from pbkit.wire.keys import Keys
from pbkit.wire.later import Later

#: These, by the method that reads it.
CONTAINERS = {
    kind.encode(): f"_unjelly_{kind}"
    for kind in ("list", "tuple", "set", "frozenset", "dictionary", "reference", "dereference")
}


class Containers(jelly._Unjellier):
    """
    Stock's unjellier, with containers in time with the number of what is in them.

    :param broker: for whom.
    :param strict: what is wrong is a `BadValue`; else whatever it is in stock.
    :param items: how many parts keys may have.
    """

    def __init__(self, broker: Any, strict: bool, items: int) -> None:
        super().__init__(broker.security, None, broker)
        self._strict = strict
        self._keys = Keys(items)
        self._placeholders: list[NotKnown] = []
        self._copies: list[pb.RemoteCopy] = []
        # By text, as all that the other end has numbered: numbers may collide.
        self._opened: set[str] = set()

    def _unjelly_reference(self, lst: Any) -> Any:
        if self._strict:
            if len(lst) != 2 or type(lst[0]) is not int or byText(lst[0]) in self._opened:
                raise BadValue("a reference within it that is none")
            self._opened.add(byText(lst[0]))
            if type(lst[1]) is list and lst[1][:1] == [b"dereference"]:
                raise BadValue("a reference within it to another")
        return super()._unjelly_reference([byText(lst[0]), lst[1]])

    def _unjelly_dereference(self, lst: Any) -> Any:
        if self._strict and (len(lst) != 1 or type(lst[0]) is not int):
            raise BadValue("a reference within it that is none")
        found = super()._unjelly_dereference([byText(lst[0])])
        if isinstance(found, NotKnown):
            if found.resolved:
                # Stock asserts that nobody asks for it now.
                return found.resolvedObject
            if isinstance(found, _Dereference):
                self._placeholders.append(found)
        return found

    # With no more frames for each level than stock: that is how deep it can go.

    def _unjelly_list(self, lst: Any) -> Any:
        items: list[Any] = []
        for each in lst:
            items.append(item := self.unjelly(each))
            if isinstance(item, NotKnown):
                item.addDependant(items, len(items) - 1)
        return items

    def _unjelly_tuple(self, lst: Any) -> Any:
        return self._collected(lst, tuple)

    def _unjellySetOrFrozenset(self, lst: Any, containerType: Any) -> Any:
        def build(items: list[Any]) -> Any:
            self._keys.check(items, members=True)
            return containerType(items)

        return self._collected(lst, build)

    def _collected(self, lst: Any, build: Callable[[list[Any]], Any]) -> Any:
        items: list[Any] = []
        for each in lst:
            items.append(item := self.unjelly(each))
            if isinstance(item, NotKnown):
                item.addDependant(items, len(items) - 1)
        if not any(isinstance(item, NotKnown) for item in items):
            return build(items)
        later = Later(items, build)
        self._placeholders.append(later)
        return later

    def _unjelly_dictionary(self, lst: Any) -> dict[Any, Any]:
        keys: list[Any] = []
        values: list[Any] = []
        for pair in lst:
            if self._strict and not (type(pair) is list and len(pair) == 2):
                raise BadValue("a dictionary that is not one of pairs")
            key, value = pair
            keys.append(self.unjelly(key))
            if self._strict and isinstance(keys[-1], NotKnown):
                raise BadValue("a key that holds its dictionary")
            values.append(None)
            self.unjellyInto(values, len(values) - 1, value)
        self._keys.check(keys, members=False)
        found = dict(zip(keys, values, strict=True))
        for key, value in found.items():
            if isinstance(value, NotKnown):
                value.addDependant(found, key)
        return found

    def _fill(self) -> None:
        """All is there now: nothing may be left of the placeholders."""
        if self._strict and not all(one.resolved for one in self._placeholders):
            # Stock hands them to the method that is called.
            raise BadValue("a reference within it to what is not in it")
        for copy in self._copies:
            # Stock puts the state into a new dictionary, which is not told when a cycle closes.
            for name, value in list(vars(copy).items()):
                if isinstance(value, NotKnown) and value.resolved:
                    vars(copy)[name] = value.resolvedObject


def byText(number: Any) -> str:
    """
    :return: what to look up a number by that the other end has chosen: the hashes of texts are random.
    """
    return repr(number)

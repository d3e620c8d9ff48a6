"""
Objects, made into what is sent: stock's jelly, which says so if it cannot.

Stock sends an `Unpersistable` in the place of what it cannot send, so the caller gets success, and something that it
finds out about later.
"""

from __future__ import annotations

import datetime
import decimal
import types
from typing import Any

from twisted.python.reflect import qual
from twisted.spread import jelly, pb

from pbkit.errors import CannotSend
from pbkit.wire.observer import Observer

#: What a class must allow for these to be sent; in our own taster, for we know no other.
_BY_NAME: tuple[tuple[type | tuple[type, ...], bytes], ...] = (
    (types.MethodType, b"method"),
    (types.FunctionType, b"function"),
    (types.ModuleType, b"module"),
    (type, b"class"),
)

#: What stock sends as it is, so that there is nothing to look at.
_PLAIN = frozenset((int, float, str, bytes, bool, type(None), list, tuple, dict, set, frozenset))

#: What stock makes of containers: what it asks its taster for, and how they are called.
_CONTAINERS = {
    kind: (qual(kind).encode("ascii"), name)
    for kind, name in (
        (list, b"list"),
        (tuple, b"tuple"),
        (dict, b"dictionary"),
        (set, b"set"),
        (frozenset, b"frozenset"),
    )
}


class Jellier(jelly._Jellier):
    """
    Makes an expression of one object, and can be used once.

    :param broker: for whom: a channel, or a broker without. It has the taster and the profile.
    """

    def __init__(self, broker: Any) -> None:
        super().__init__(broker.security, None, broker)
        self._strict = not broker.connection.profile.stockJelly
        # What was begun last, which is what stock gives up on.
        self._at: Any = None

    def jelly(self, obj: Any) -> Any:
        """
        As stock's.

        :raises CannotSend: it, or something in it, cannot be sent.
        """
        kind = type(obj)
        if kind in _CONTAINERS and self.taster.isTypeAllowed(_CONTAINERS[kind][0]):
            # As stock does it, but in one frame for each level, so that ours in between cost no depth.
            known = self._checkMutable(obj)
            if known:
                return known
            expression = self.prepare(obj)
            expression.append(_CONTAINERS[kind][1])
            if kind is dict:
                for key, value in obj.items():
                    expression.append([self.jelly(key), self.jelly(value)])
            else:
                for item in obj:
                    expression.append(self.jelly(item))
            return self.preserve(obj, expression)
        if kind not in _PLAIN:
            if isinstance(obj, pb.Jellyable):
                return self._object(obj)
            self._at = obj
            if self._strict:
                self._check(obj)
        try:
            return super().jelly(obj)
        except (jelly.InsecureJelly, NotImplementedError):
            if not self._strict:
                raise
            # Stock's text has the value in it.
            raise _cannot(obj) from None

    def _object(self, obj: Any) -> Any:
        if isinstance(obj, pb.CopyableFailure):
            # An error has to arrive, whatever somebody has put into it.
            strict, self._strict = self._strict, False
            try:
                return super().jelly(obj)
            finally:
                self._strict = strict
        if isinstance(obj, pb.Cacheable) and type(obj).jellyFor is pb.Cacheable.jellyFor:
            return self._checkMutable(obj) or self._cacheable(obj)
        if self._strict and isinstance(obj, pb.RemoteReference | pb.RemoteCache) and obj.broker is not self.invoker:
            raise CannotSend(
                f"a {qual(type(obj))} can be sent back only to where it came from: give an object of your own that "
                "passes calls on"
            )
        return super().jelly(obj)

    def _cacheable(self, obj: pb.Cacheable) -> Any:
        """As stock's `jellyFor`, with an observer that can be compared; and if it fails, nobody observes."""
        tables = self.invoker
        luid = tables.cachedRemotelyAs(obj, 1)
        if luid is not None:
            return b"cached", luid
        luid = tables.cacheRemotely(obj)
        perspective = tables.serializingPerspective
        observer = Observer(tables, obj, perspective)
        with tables.beginning(luid, observer):
            kind = obj.getTypeToCopyFor(perspective)
            state = obj.getStateToCacheAndObserveFor(perspective, observer)
        expression = self.prepare(obj)
        expression.extend([kind, luid, self.jelly(state)])
        return self.preserve(obj, expression)

    def _check(self, obj: Any) -> None:
        if isinstance(obj, decimal.Decimal) and not obj.is_finite():
            raise CannotSend("a Decimal that is no number cannot be sent: send a float or a text")
        if isinstance(obj, datetime.datetime | datetime.time) and obj.tzinfo is not None:
            raise CannotSend("a time with a time zone cannot be sent: send it in UTC and without, or its isoformat()")
        for kind, name in _BY_NAME:
            if isinstance(obj, kind) and not self.taster.isTypeAllowed(name):
                raise _cannot(obj)

    def unpersistable(self, reason: Any, sxp: Any = None) -> Any:
        """
        :raises CannotSend: where stock would not.
        """
        if self._strict:
            raise _cannot(self._at)
        return super().unpersistable(reason, sxp)


def _cannot(obj: object) -> CannotSend:
    return CannotSend(
        f"a {qual(type(obj))} cannot be sent: send plain data, or derive the class from pb.Copyable, of which the "
        "other end gets a copy, or from pb.Referenceable, which it can call"
    )

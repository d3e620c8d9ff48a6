"""
Objects to jelly expressions: stock's jelly, with an error for what it cannot send.

Stock sends an `Unpersistable` in place of an object that it cannot send. The caller then gets success, and a value that
fails when it is used.
"""

from __future__ import annotations

import datetime
import decimal
import types
from contextlib import AbstractContextManager
from typing import Any, Protocol

from twisted.internet.defer import fail
from twisted.python.reflect import qual
from twisted.spread import jelly, pb

from pbkit.errors import CannotSend
from pbkit.wire.jelly.registry import JellySettings

#: How many frames stock's unjelly may need for a value. Python's limit is 1,000, with those that a program has around
#: it. Above that, unjelly fails, and the caller waits forever. A list takes three frames, so 300 lists may be nested.
FRAMES = 900

#: How many frames stock's unjelly needs for one level. An instance needs these in addition to its state, which is a
#: dict.
_FRAMES = {list: 3, tuple: 3, dict: 3, set: 4, frozenset: 4}
_INSTANCE = 2

#: The names that a taster must allow for these to be sent by name. The default taster allows none of them.
_BY_NAME: tuple[tuple[type | tuple[type, ...], bytes], ...] = (
    (types.MethodType, b"method"),
    (types.FunctionType, b"function"),
    (types.ModuleType, b"module"),
    (type, b"class"),
)

#: Types that need no check, because stock can send each of their values.
_PLAIN = frozenset((int, float, str, bytes, bool, type(None), list, tuple, dict, set, frozenset))

#: For each container type: what stock asks the taster for, and the name that is sent.
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


class SendingBroker(Protocol):
    """
    What a `Jellier` needs of the broker or channel that it works for.
    """

    serializingPerspective: Any

    @property
    def connection(self) -> JellySettings:
        """The broker that has the socket, and the profile."""

    @property
    def security(self) -> Any:
        """The taster."""

    def cachedRemotelyAs(self, instance: Any, incref: Any = 0) -> int | None:
        """As stock's."""

    def cacheRemotely(self, instance: Any) -> int:
        """As stock's."""

    def beginning(self, luid: int, observer: CacheObserver) -> AbstractContextManager[None]:
        """Return a context in which a Cacheable is asked for its first state."""


class CacheObserver(pb.RemoteCacheObserver):
    """
    One copy of a Cacheable, as `getStateToCacheAndObserveFor` and `stoppedObserving` get it.

    Stock's are ordered by their brokers, which cannot be ordered: of two or more, none can be removed from a list
    (Twisted issue 9671). Two of these are equal if their channel or broker, Cacheable and perspective are the same
    objects. The objects' own `__eq__` is not asked.
    """

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, pb.RemoteCacheObserver):
            return NotImplemented
        return self.broker is other.broker and self.cached is other.cached and self.perspective is other.perspective

    def __ne__(self, other: object) -> bool:
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        return hash((id(self.broker), id(self.cached), id(self.perspective)))

    def callRemote(self, _name: str | bytes, *args: Any, **kw: Any) -> Any:
        """
        Call ``observe_NAME`` of the copy.

        :return: a Deferred of the answer, or None with ``pbanswer=False``. It fails if the copy is gone.
        """
        name = _name.encode("utf-8") if isinstance(_name, str) else _name
        broker = self.broker
        luid = broker.cachedFor(self.cached, self.perspective)
        if luid is None and broker.dead() is None:
            error = pb.ProtocolError("the copy that this observer is for does not exist, or no longer")
            if broker.connection.profile.raiseOnDead:
                raise error
            return fail(error) if kw.get("pbanswer", True) else None
        # If the session or connection has ended, the call fails with the reason.
        return broker._sendMessage(b"cache", self.perspective, luid, name, args, kw)

    def remoteMethod(self, key: str) -> Any:
        """Return a callable that is `callRemote` with this name."""
        return lambda *args, **kw: self.callRemote(key, *args, **kw)


class Jellier(jelly._Jellier):
    """
    Makes the expression of one object. Use each instance once.

    :param broker: the broker or channel that the expression is for.
    """

    def __init__(self, broker: SendingBroker) -> None:
        super().__init__(broker.security, None, broker)
        self._strict = not broker.connection.profile.stockJelly
        # The object that was begun last. If stock cannot send something, it is this one.
        self._current: object = None
        # How many frames stock's unjelly needs for the object that is being made.
        self._frames = 0

    def jelly(self, obj: Any) -> Any:
        """
        As stock's.

        :raises CannotSend: the object, or something in it, cannot be sent.
        """
        kind = type(obj)
        if kind in _CONTAINERS and self.taster.isTypeAllowed(_CONTAINERS[kind][0]):
            # As stock does it, but in one frame per level: otherwise this method would halve the depth that Python's
            # limit on recursion allows.
            known = self._checkMutable(obj)
            if known:
                return known
            if self._frames + _FRAMES[kind] > FRAMES:
                raise CannotSend(f"a value that is nested too deep cannot be sent: at most {FRAMES // 3} lists")
            self._frames += _FRAMES[kind]
            expression = self.prepare(obj)
            expression.append(_CONTAINERS[kind][1])
            if kind is dict:
                for key, value in obj.items():
                    expression.append([self.jelly(key), self.jelly(value)])
            else:
                for item in obj:
                    expression.append(self.jelly(item))
            self._frames -= _FRAMES[kind]
            return self.preserve(obj, expression)
        if kind not in _PLAIN:
            if isinstance(obj, pb.Jellyable):
                self._frames += _INSTANCE
                made = self._jellyable(obj)
                self._frames -= _INSTANCE
                return made
            self._current = obj
            if self._strict:
                self._check(obj)
        try:
            return super().jelly(obj)
        except (jelly.InsecureJelly, NotImplementedError):
            if not self._strict:
                raise
            # Stock's text quotes the value.
            raise _cannotSend(obj) from None

    def _jellyable(self, obj: pb.Jellyable) -> Any:
        if isinstance(obj, pb.CopyableFailure):
            # An error must arrive, whatever a program has stored in it.
            strict, self._strict = self._strict, False
            try:
                return super().jelly(obj)
            finally:
                self._strict = strict
        if isinstance(obj, pb.Cacheable) and type(obj).jellyFor is pb.Cacheable.jellyFor:
            return self._checkMutable(obj) or self._cacheable(obj)
        if self._strict and isinstance(obj, pb.RemoteReference | pb.RemoteCache) and obj.broker is not self.invoker:
            raise CannotSend(
                f"a {qual(type(obj))} cannot be sent except back to its own peer: send an object of your own that "
                "forwards the calls"
            )
        return super().jelly(obj)

    def _cacheable(self, obj: pb.Cacheable) -> Any:
        """As stock's `jellyFor`, with a `CacheObserver`; if it fails, the object is not observed."""
        broker: SendingBroker = self.invoker
        luid = broker.cachedRemotelyAs(obj, 1)
        if luid is not None:
            return b"cached", luid
        luid = broker.cacheRemotely(obj)
        perspective = broker.serializingPerspective
        observer = CacheObserver(broker, obj, perspective)
        with broker.beginning(luid, observer):
            kind = obj.getTypeToCopyFor(perspective)
            state = obj.getStateToCacheAndObserveFor(perspective, observer)
        expression = self.prepare(obj)
        expression.extend([kind, luid, self.jelly(state)])
        return self.preserve(obj, expression)

    def _check(self, obj: object) -> None:
        # Jelly has no form for these: stock sends them as something else, without an error.
        if isinstance(obj, decimal.Decimal):
            if not obj.is_finite():
                raise CannotSend(f"Decimal({str(obj)!r}) cannot be sent: send a float or a text")
            if obj.is_zero() and obj.is_signed():
                raise CannotSend(f"Decimal({str(obj)!r}) cannot be sent, only zero without a sign: send abs() of it")
        if isinstance(obj, datetime.datetime | datetime.time):
            if obj.tzinfo is not None:
                raise CannotSend("a time with a time zone cannot be sent: send a naive time in UTC, or its isoformat()")
            if obj.fold:
                raise CannotSend("a time with fold=1 cannot be sent: send a time in UTC, or replace(fold=0)")
        for kind, name in _BY_NAME:
            if isinstance(obj, kind) and not self.taster.isTypeAllowed(name):
                raise _cannotSend(obj)

    def unpersistable(self, reason: Any, sxp: Any = None) -> Any:
        """
        As stock's in drop-in use.

        :raises CannotSend: otherwise.
        """
        if self._strict:
            raise _cannotSend(self._current)
        return super().unpersistable(reason, sxp)


def _cannotSend(obj: object) -> CannotSend:
    return CannotSend(
        f"a {qual(type(obj))} cannot be sent: send plain data, or derive its class from pb.Copyable (the peer gets a "
        "copy) or pb.Referenceable (the peer can call it)"
    )


__all__ = ["CacheObserver", "Jellier", "SendingBroker"]

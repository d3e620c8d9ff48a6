"""
How a call reaches a method.

Stock has this three times, in `pb.Avatar`, `pb.Referenceable` and `pb.ViewPoint`, and each logs the arguments of a call
that does not fit: passwords among them.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from types import CoroutineType
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.spread import pb

from pbkit.errors import BadArguments, BadValue, NoSuchMethod
from pbkit.interfaces import current

#: A callable of any kind: a method may have been decorated by others.
F = TypeVar("F", bound=Callable[..., object])

_MARK = "_pbkitCancelWithSession"
#: What most methods return.
_PLAIN = frozenset((type(None), bool, int, float, str, bytes, list, tuple, dict))


class Serializer(Protocol):
    """The owner of the reference tables: stock's Broker, or a connection or channel of ours."""

    def serialize(
        self, object: object, perspective: Any = None, method: Any = None, args: Any = None, kw: Any = None, /
    ) -> object:
        """Return an object in jelly, or a Deferred of it."""

    def unserialize(self, sexp: Any, perspective: Any = None, /) -> object:
        """Return the object of an expression."""


def cancelWithSession(method: F) -> F:
    """
    Decorate a ``perspective_``, ``remote_`` or ``view_`` method that is ``async`` or returns a Deferred: if the session
    ends while a call of the method is running, the call is cancelled, as by ``Deferred.cancel``.

    Without this the call runs to its end and its answer is dropped, because half-done work is worse than work for which
    no caller waits. Use it for methods that only wait or only read::

        @pbkit.cancelWithSession
        async def perspective_nextMessage(self):
            return await self.queue.get()

    :param method: the method. The decorator should stand above any other.
    :return: the method.
    """
    setattr(method, _MARK, True)
    return method


_REFERENCEABLE: object = pb.Referenceable.remoteMessageReceived
_VIEWPOINT: object = pb.ViewPoint.remoteMessageReceived
_AVATAR: object = pb.Avatar.perspectiveMessageReceived
_COPY: object = pb.RemoteCache.remoteMessageReceived
#: Stock's methods that `receive` replaces, each with the prefix of the methods that it calls.
_PREFIXES: dict[object, str] = {
    _REFERENCEABLE: "remote_",
    _VIEWPOINT: "view_",
    _AVATAR: "perspective_",
    _COPY: "observe_",
}
#: Implementations of `perspectiveMessageReceived` that only dispatch, so that `serve` may bypass them.
_AVATARS: set[object] = {_AVATAR}
#: Implementations that do nothing to their arguments but unserialize them, so that they may be given values.
_TAKE_VALUES: set[object] = set()


def receive(target: Any, broker: Any, message: str, args: object, kw: object) -> object:
    """
    Serve one call on an object that was handed out.

    :param broker: the owner of the reference tables: a connection or channel of ours.
    :param message: the name of the method, without a prefix.
    :param args: in jelly; or a tuple of values already, if all of them are plain.
    :param kw: in jelly, or a dict of values, likewise.
    :return: as `dispatch`.
    """
    # The method's own object is called, which need not be the target: stock's AsReferenceable has a method of another
    # object, of an avatar or a ViewPoint.
    method = target.remoteMessageReceived
    try:
        function = method.__func__
    except AttributeError:
        function = None
    answer: object
    if function in _TAKE_VALUES:
        answer = method(broker, message, args, kw)
        return answer
    prefix = _PREFIXES.get(function)
    if prefix is not None:
        owner = method.__self__
        whose = owner.object if function is _VIEWPOINT else owner
        name = prefix + message
        # In drop-in use stock's own code answers a call of a method that does not exist: but for Referenceables that
        # is an AttributeError.
        if function is _REFERENCEABLE or broker.connection.profile.hideErrors or hasattr(whose, name):
            if function is _AVATAR:
                return dispatch(whose, name, broker, args, kw, whose)
            if function is _COPY:
                return dispatch(whose, name, broker, args, kw)
            perspective = owner.perspective
            first = (perspective,) if function is _VIEWPOINT else ()
            return dispatch(whose, name, broker, args, kw, perspective, first)
    # A class that overrides the method is given what stock would give it.
    if type(args) is tuple:
        args, kw = broker.inJelly()
    answer = method(broker, message, args, kw)
    return answer


def takesValues(function: F) -> F:
    """
    Decorate a `remoteMessageReceived` or `perspectiveMessageReceived` that may be given values instead of jelly.

    Any other, such as one in a program of a user, is given what stock would give it.
    """
    _TAKE_VALUES.add(function)
    return function


def plainly(function: F) -> F:
    """Decorate a `perspectiveMessageReceived` that only dispatches to methods: `serve` bypasses it."""
    _AVATARS.add(function)
    return takesValues(function)


def serve(target: Any, broker: Any, message: str, args: object, kw: object) -> object:
    """
    Serve one call on an avatar.

    :param target: the avatar, an `IPerspective`.
    :return: as `dispatch`.
    """
    function = getattr(type(target), "perspectiveMessageReceived", None)
    if function in _AVATARS:
        return dispatch(target, "perspective_" + message, broker, args, kw, target)
    if type(args) is tuple and function not in _TAKE_VALUES:
        args, kw = broker.inJelly()
    answer: object = target.perspectiveMessageReceived(broker, message, args, kw)
    return answer


def dispatch(
    target: object,
    name: str,
    broker: Serializer,
    args: Any,
    kw: Any,
    perspective: object = None,
    first: tuple[object, ...] = (),
) -> object:
    """
    Serve one call. The method may return a value or a Deferred, or be a coroutine.

    :param target: the object that has the method.
    :param name: of the method, with its prefix.
    :param broker: the owner of the reference tables: a channel, or stock's Broker.
    :param args: in jelly, or a tuple of values.
    :param kw: in jelly, or a dict of values.
    :param perspective: the avatar that arguments are made for, and the answer.
    :param first: arguments that come before those of the caller.
    :return: the answer in jelly, or a Deferred of it.
    :raises NoSuchMethod: there is no such method.
    :raises BadValue: the arguments cannot be read.
    :raises BadArguments: the arguments do not fit. They are not logged.
    """
    if type(args) is not tuple:
        # Before the method is looked up: references among the arguments are given back to the client when they have
        # been made and are dropped here.
        try:
            args = broker.unserialize(args, perspective)
        except Exception:
            # Nothing is made of the keyword arguments, so the references in them are given back from the expression.
            # Stock's broker cannot do that.
            getattr(broker, "giveBack", _nothing)(kw)
            raise
        kw = broker.unserialize(kw, perspective)
        if not isinstance(args, list | tuple) or not isinstance(kw, dict):
            raise BadValue("the arguments of a call must be a tuple and a dictionary")
    if kw and not all(type(key) is str for key in kw):
        kw = {_name(key): value for key, value in kw.items()}
    method = getattr(target, name, None)
    if method is None:
        raise NoSuchMethod(f"no such method: {name:.100}")
    try:
        result: object = method(*first, *args, **kw)
    except TypeError:
        wrong = misfit(method, *first, *args, **kw)
        if not wrong:
            raise
        # The caller's mistake, so the log has no traceback of this.
        raise BadArguments(f"the arguments do not fit {name:.100}: {wrong:.100}") from None
    if type(result) is CoroutineType:
        result = Deferred.fromCoroutine(result)
    # The type is compared first because isinstance of a Deferred takes as long as two calls.
    if type(result) not in _PLAIN and isinstance(result, Deferred):
        session = current.get() if getattr(method, _MARK, False) else None
        if session is not None:
            result = session.cancelAtEnd(result)
        return broker.serialize(result, perspective, method, args, kw)
    try:
        answered: Callable[..., object] = broker.answered  # type: ignore[attr-defined]
    except AttributeError:
        # Stock's broker.
        answered = broker.serialize
    return answered(result, perspective, method, args, kw)


def _name(key: object) -> str:
    try:
        # Clients on Python 2 send bytes.
        name = key.decode("utf-8") if isinstance(key, bytes) else key
    except UnicodeDecodeError:
        name = None
    if not isinstance(name, str):
        raise BadValue("the name of a keyword argument must be text")
    return name


def misfit(method: Callable[..., object], *args: object, **kw: object) -> str:
    """Return why a method cannot be called like this, or "". The text names parameters, but no argument."""
    try:
        signature(method).bind(*args, **kw)
    except TypeError as error:
        return str(error)
    except ValueError:
        pass  # A method written in C may have no signature.
    return ""


def _nothing(sexp: object) -> None:
    """The `giveBack` of stock's broker."""

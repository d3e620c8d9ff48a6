"""
How a call reaches a method.

Stock has this three times, in `pb.Avatar`, `pb.Referenceable` and `pb.ViewPoint`, and each logs the arguments of a call
that does not fit: passwords among them.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from types import CoroutineType
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.spread import pb

from pbkit.errors import BadArguments, BadValue, NoSuchMethod
from pbkit.interfaces import current

#: Whatever can be called. (Not only a function: a method may have been decorated by others.)
F = TypeVar("F", bound=Callable[..., Any])

_MARK = "_pbkitCancelWithSession"
#: What most methods return.
_PLAIN = frozenset((type(None), bool, int, float, str, bytes, list, tuple, dict))


def cancelWithSession(method: F) -> F:
    """
    Decorate a ``perspective_``, ``remote_`` or ``view_`` method that is ``async`` or returns a Deferred: a call of it
    that is running when its session ends is cancelled, as by ``Deferred.cancel``.

    Without this it runs on, and its answer is dropped: half-done work is worse than work that nobody waits for. It is
    for methods that only wait or only read::

        @pbkit.cancelWithSession
        async def perspective_nextMessage(self):
            return await self.queue.get()

    :param method: it should go above other decorators.
    :return: the method.
    """
    setattr(method, _MARK, True)
    return method


_REFERENCEABLE: Any = pb.Referenceable.remoteMessageReceived
_VIEWPOINT: Any = pb.ViewPoint.remoteMessageReceived
_AVATAR: Any = pb.Avatar.perspectiveMessageReceived
_COPY: Any = pb.RemoteCache.remoteMessageReceived
#: Avatars with one of these have nothing to say in how their methods are called.
_AVATARS: set[Any] = {_AVATAR}
#: What does nothing to the arguments but to unserialize them: stock's, and ours, which say so with `takesValues`.
_TAKE_VALUES: set[Any] = {_AVATAR, _COPY}


def receive(target: Any, broker: Any, message: str, args: Any, kw: Any) -> Any:
    """
    Serve one call on an object that was handed out.

    :param broker: whoever has the tables of references: a connection of ours, or a channel of one.
    :param message: the name of the method, without a prefix.
    :param args: in jelly; or a tuple of values already, if all of them are plain.
    :param kw: in jelly, or a dict of values, likewise.
    :return: as `dispatch`.
    """
    if type(target) is Granted:
        return target.granted.perspectiveMessageReceived(broker, message, args, kw)
    function = getattr(target.remoteMessageReceived, "__func__", None)
    if function is _REFERENCEABLE:
        return dispatch(target, "remote_" + message, broker, args, kw, target.perspective)
    if function is _VIEWPOINT:
        perspective = target.perspective
        return dispatch(target.object, "view_" + message, broker, args, kw, perspective, (perspective,))
    if function is _AVATAR or function is _COPY:
        # Stock's log the arguments of a call that does not fit. In drop-in use, a method that is not there is their
        # affair: an AttributeError.
        whose = target.remoteMessageReceived.__self__
        name = ("perspective_" if function is _AVATAR else "observe_") + message
        if broker.connection.profile.hideErrors or hasattr(whose, name):
            return dispatch(whose, name, broker, args, kw, whose if function is _AVATAR else None)
    # Who overrides it means it; as stock's AsReferenceable does, which has that of another object.
    if type(args) is tuple and function not in _TAKE_VALUES:
        args, kw = broker.inJelly()
    return target.remoteMessageReceived(broker, message, args, kw)


def takesValues(function: F) -> F:
    """
    Decorate a `remoteMessageReceived` or `perspectiveMessageReceived` that may be given values in the place of jelly.
    Any other, such as somebody's own, is given what stock would give it.
    """
    _TAKE_VALUES.add(function)
    return function


def plainly(function: F) -> F:
    """
    Decorate a `perspectiveMessageReceived` that only dispatches to methods: `serve` passes it by.
    """
    _AVATARS.add(function)
    return takesValues(function)


class Granted(pb.Referenceable):
    """
    What stock's `pb.AsReferenceable` is, in half of the memory: it keeps no bound method.

    :param granted: what a login gives the client: an `IPerspective` whose method `takesValues`.
    """

    __slots__ = ("granted",)

    def __init__(self, granted: Any) -> None:
        self.granted = granted

    @property
    def remoteMessageReceived(self) -> Any:
        """As stock's: a method of what was granted."""
        return self.granted.perspectiveMessageReceived


def granted(perspective: Any) -> Any:
    """
    :param perspective: an `IPerspective`.
    :return: what stands for it in a table of references.
    """
    function = getattr(type(perspective), "perspectiveMessageReceived", None)
    # Of stock's own avatars see `receive`.
    takes = function in _TAKE_VALUES and function is not _AVATAR
    return Granted(perspective) if takes else pb.AsReferenceable(perspective, "perspective")


def serve(target: Any, broker: Any, message: str, args: Any, kw: Any) -> Any:
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
    return target.perspectiveMessageReceived(broker, message, args, kw)


def dispatch(
    target: object, name: str, broker: Any, args: Any, kw: Any, perspective: Any = None, first: tuple[Any, ...] = ()
) -> Any:
    """
    Serve one call: the method may be plain, return a Deferred or be a coroutine.

    :param target: whose method it is.
    :param name: of the method, with its prefix.
    :param broker: whoever has the tables of references: a channel, or stock's Broker.
    :param args: in jelly, or a tuple of values.
    :param kw: in jelly, or a dict of values.
    :param perspective: for whom arguments are made and the answer is put together.
    :param first: arguments that come before those of the caller.
    :return: the answer in jelly, or a Deferred of it.
    :raises NoSuchMethod: there is none.
    :raises BadValue: the arguments cannot be read.
    :raises BadArguments: they do not fit; they are not logged.
    """
    if type(args) is not tuple:
        # Before the method is looked up: references among the arguments are only given back to the
        # client once they have been made and dropped here.
        try:
            args = broker.unserialize(args, perspective)
        except Exception:
            # Nothing will be made of these, so nobody would give back what they hold. Stock's broker cannot.
            getattr(broker, "giveBack", _nothing)(kw)
            raise
        kw = broker.unserialize(kw, perspective)
        if not isinstance(args, list | tuple) or not isinstance(kw, dict):
            raise BadValue("arguments are a tuple and a dictionary")
    if kw and not all(type(key) is str for key in kw):
        kw = {_name(key): value for key, value in kw.items()}
    method = getattr(target, name, None)
    if method is None:
        raise NoSuchMethod(f"no such method: {name:.100}")
    try:
        result = method(*first, *args, **kw)
    except TypeError:
        wrong = misfit(method, *first, *args, **kw)
        if not wrong:
            raise
        # The caller's mistake, and no traceback of ours.
        raise BadArguments(f"the arguments do not fit {name:.100}: {wrong:.100}") from None
    if type(result) is CoroutineType:
        result = Deferred.fromCoroutine(result)
    # Whether something is a Deferred takes as long to find out as two calls.
    if type(result) not in _PLAIN and isinstance(result, Deferred):
        if getattr(method, _MARK, False) and (session := current.get()) is not None:
            result = session.cancelAtEnd(result)
        return broker.serialize(result, perspective, method, args, kw)
    answered = getattr(broker, "answered", None)
    if answered is not None:
        return answered(result, perspective, method, args, kw)
    return broker.serialize(result, perspective, method, args, kw)


def _name(key: Any) -> str:
    try:
        # As sent by clients on Python 2.
        name = key.decode("utf-8") if isinstance(key, bytes) else key
    except UnicodeDecodeError:
        name = None
    if not isinstance(name, str):
        raise BadValue("the name of an argument is no text")
    return name


def misfit(method: Any, *args: Any, **kw: Any) -> str:
    """
    Why a method cannot be called so, "" if it can. Names parameters, but no argument.
    """
    try:
        signature(method).bind(*args, **kw)
    except TypeError as error:
        return str(error)
    except ValueError:
        pass  # Of a method written in C there may be no signature.
    return ""


def _nothing(sexp: Any) -> None:
    """What stock's broker does about it."""

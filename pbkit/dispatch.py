"""
How a call reaches a method.

Stock has this three times, in `pb.Avatar`, `pb.Referenceable` and `pb.ViewPoint`, and each logs the arguments of a call
that does not fit: passwords among them.
"""

from __future__ import annotations

from inspect import iscoroutine, signature
from typing import Any

from twisted.internet.defer import Deferred
from twisted.spread import pb

from pbkit.errors import BadArguments, BadValue, NoSuchMethod

_REFERENCEABLE: Any = pb.Referenceable.remoteMessageReceived
_VIEWPOINT: Any = pb.ViewPoint.remoteMessageReceived
#: What does nothing to the arguments but to unserialize them. Ours say so of themselves, with `takesValues`.
_AVATAR: Any = pb.Avatar.perspectiveMessageReceived
_COPY: Any = pb.RemoteCache.remoteMessageReceived
_TAKE_VALUES = frozenset((_AVATAR, _COPY))


def receive(target: Any, broker: Any, message: str, args: Any, kw: Any) -> Any:
    """
    Serve one call on an object that was handed out.

    :param broker: whoever has the tables of references: a connection of ours, or a channel of one.
    :param message: the name of the method, without a prefix.
    :param args: in jelly; or a tuple of values already, if all of them are plain.
    :param kw: in jelly, or a dict of values, likewise.
    :return: as `dispatch`.
    """
    # Some have one of their own in their `__dict__`, such as stock's AsReferenceable. Who overrides it means it.
    own = vars(target).get("remoteMessageReceived")
    function = type(target).remoteMessageReceived if own is None else getattr(own, "__func__", None)
    if function is _REFERENCEABLE and own is None:
        return dispatch(target, f"remote_{message}", broker, args, kw, target.perspective)
    if function is _VIEWPOINT and own is None:
        perspective = target.perspective
        return dispatch(target.object, f"view_{message}", broker, args, kw, perspective, (perspective,))
    strict = broker.connection.profile.hideErrors
    # In drop-in use a method of these that is not there is stock's affair: an AttributeError.
    if function is _AVATAR and own is not None:
        avatar, name = own.__self__, f"perspective_{message}"
        if strict or hasattr(avatar, name):
            return dispatch(avatar, name, broker, args, kw, avatar)
    elif function is _COPY and own is None:
        name = f"observe_{message}"
        if strict or hasattr(target, name):
            return dispatch(target, name, broker, args, kw)
    if type(args) is tuple and not takesValues(function):
        args, kw = broker.inJelly()
    return target.remoteMessageReceived(broker, message, args, kw)


def takesValues(function: Any) -> bool:
    """
    Whether a `remoteMessageReceived` or `perspectiveMessageReceived` may be given values in the place of jelly.
    Somebody's own is given what stock would give it.
    """
    return function in _TAKE_VALUES or getattr(function, "takesValues", False)


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
    if iscoroutine(result):
        result = Deferred.fromCoroutine(result)
    answered = getattr(broker, "answered", None)
    if answered is not None and not isinstance(result, Deferred):
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

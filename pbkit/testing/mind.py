"""
`RecordingMind`: a mind that records the calls it receives, and refuses calls that do not fit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.compat import nativeString
from twisted.spread import pb

from pbkit.errors import Error


class RecordingMind(pb.Referenceable):
    """
    A mind to log in with. It records the server's calls, and fails the test if a call does not fit: if the method is
    not declared, or does not take the arguments.

    There are four ways to declare methods::

        RecordingMind(scoreIs=lambda score: None, ask=lambda question: "yes")   # their results are the answers
        RecordingMind(Watcher)        # the remote_ methods of a class; they are not run, and answer None
        RecordingMind(Watcher())      # the remote_ methods of an object; they are run
        class Watching(RecordingMind): ...   # its own remote_ methods; they are run

    :param target: the class or object whose `remote_` methods are declared.
    :param methods: more methods, by name without ``remote_``. A Deferred or an ``async`` function answers later.
    """

    def __init__(self, target: object = None, /, **methods: Callable[..., object]) -> None:
        #: Called before `told` is read: the server adds a function that delivers pending bytes.
        self.onLook: list[Callable[[], object]] = []
        self._told: list[tuple[Any, ...]] = []
        self._complaints: list[str] = []
        self._methods: dict[str, _Method] = {}
        self._declare(self)
        if target is not None:
            self._declare(target)
        for name, method in methods.items():
            if not callable(method):
                raise TypeError(
                    f"invalid {name}={method!r}: expected a callable, for example {name}=lambda score: None"
                )
            self._methods[name] = _Method(method, 0, method)

    @property
    def told(self) -> list[tuple[Any, ...]]:
        """
        The calls received so far, oldest first, such as ``("scoreIs", 12)``. Keyword arguments are put in their places;
        those that have no place come last, in a dict. Reading this delivers pending calls first.
        """
        for look in self.onLook:
            look()
        return self._told

    def takeComplaints(self) -> list[str]:
        """Return and forget the complaints about calls that did not fit."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def remoteMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> object:
        """
        Serve one call.

        :raises Error: if the method is not declared, or does not take the arguments.
        """
        args, kw = broker.unserialize(args), broker.unserialize(kw)
        name = nativeString(message)
        method = self._methods.get(name)
        if method is None:
            raise self._complaint(
                f"the mind received {_call(name, args, kw)}, but has no remote_{name}: {self._known()}"
            )
        try:
            bound = method.bind(args, kw)
        except TypeError as e:
            raise self._complaint(
                f"the mind received {_call(name, args, kw)}, which does not fit remote_{name}{method.shape}: {e}"
            ) from None
        self._told.append((name, *bound.args[method.skip :], *([bound.kwargs] if bound.kwargs else [])))
        result = method.answer(*args, **kw)
        if inspect.iscoroutine(result):
            result = Deferred.fromCoroutine(result)
        return broker.serialize(result, None, method, args, kw)

    def remote_goodbye(self, reason: str, detail: str = "") -> None:
        """Record a goodbye, which every client can receive when the server ends its session."""

    def _declare(self, target: object) -> None:
        isClass = isinstance(target, type)
        for attribute in dir(target):
            if attribute.startswith("remote_") and callable(method := getattr(target, attribute)):
                answer = _nothing if isClass else method
                # A class has a plain function here, which takes self, unless it is a static or class method.
                plain = isClass and inspect.isfunction(inspect.getattr_static(target, attribute))
                self._methods[attribute.removeprefix("remote_")] = _Method(method, int(plain), answer)

    def _known(self) -> str:
        if not self._methods.keys() - {"goodbye"}:
            return "no method is declared. Declare the methods, for example RecordingMind(scoreIs=lambda score: None)"
        return "it has " + ", ".join(
            f"{name}{method.shape}" for name, method in sorted(self._methods.items()) if name != "goodbye"
        )

    def _complaint(self, text: str) -> Error:
        self._complaints.append(text)
        return Error(text)


class _Method:
    """
    A method that a mind declares.

    :param declared: the function whose signature counts.
    :param skip: the number of parameters before those of the call: 1 if there is a self.
    :param answer: what is called to get the answer.
    :ivar shape: the signature, for an error.
    """

    def __init__(self, declared: Callable[..., object], skip: int, answer: Callable[..., object]) -> None:
        self.skip = skip
        self.answer = answer
        signature = inspect.signature(declared)
        self._signature = signature
        self.shape = str(signature.replace(parameters=list(signature.parameters.values())[skip:]))

    def bind(self, args: Sequence[object], kw: Mapping[str, object]) -> inspect.BoundArguments:
        """
        Bind the arguments of a call to the parameters.

        :raises TypeError: if they do not fit.
        """
        return self._signature.bind(*[None] * self.skip, *args, **kw)


def _nothing(*args: object, **kw: object) -> None:
    """Answer None."""


def _call(name: str, args: Iterable[object], kw: Mapping[str, object]) -> str:
    return f"{name}({', '.join([*map(repr, args), *(f'{key}={value!r}' for key, value in kw.items())])})"

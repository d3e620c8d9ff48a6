"""
`RecordingMind`: a client's own object that writes down what it is told, and minds what it is told.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.compat import nativeString
from twisted.spread import pb

from pbkit.errors import Error


class RecordingMind(pb.Referenceable):
    """
    A client's own object, to log in with. It writes down what the server calls, and a call that a real client
    would not understand is a failure of the test: a method that is not declared, or arguments that do not fit.

    Methods are declared in any of four ways::

        RecordingMind(scoreIs=lambda score: None, ask=lambda question: "yes")   # what they return is the answer
        RecordingMind(Watcher)        # the remote_ methods of a class: they are not run, and answer None
        RecordingMind(Watcher())      # those of an object, which are run
        class Watching(RecordingMind): ...   # with remote_ methods of its own, which are run

    :param target: the class or object whose `remote_` methods they are.
    :param methods: more of them, by name without ``remote_``. A Deferred, or an ``async`` function, answers later.
    """

    def __init__(self, target: Any = None, /, **methods: Callable[..., Any]) -> None:
        #: What is called before `told` is looked at: whatever brings over what is on its way.
        self.onLook: list[Callable[[], object]] = []
        self._told: list[tuple[Any, ...]] = []
        self._complaints: list[str] = []
        self._methods: dict[str, _Method] = {}
        self._declare(self)
        if target is not None:
            self._declare(target)
        for name, method in methods.items():
            if not callable(method):
                raise TypeError(f"RecordingMind({name}={method!r}): it takes a callable, such as lambda score: None")
            self._methods[name] = _Method(method, 0, method)

    @property
    def told(self) -> list[tuple[Any, ...]]:
        """
        What the server has called, oldest first: ``("scoreIs", 12)``. Keyword arguments are put in their places;
        those that have none come last, in a dict. Also what is on its way as you look.
        """
        for look in self.onLook:
            look()
        return self._told

    def takeComplaints(self) -> list[str]:
        """What it was told and should not have been, since the last time."""
        complaints, self._complaints = self._complaints, []
        return complaints

    def remoteMessageReceived(self, broker: Any, message: Any, args: Any, kw: Any) -> Any:
        """
        Serve one call of the server's.

        :raises Error: it is not declared, or its arguments do not fit.
        """
        args, kw = broker.unserialize(args), broker.unserialize(kw)
        name = nativeString(message)
        method = self._methods.get(name)
        if method is None:
            raise self._complaint(
                f"the mind was told {_call(name, args, kw)}, and has no remote_{name}: {self._known()}"
            )
        try:
            bound = method.bind(args, kw)
        except TypeError as e:
            raise self._complaint(
                f"the mind was told {_call(name, args, kw)}, which does not fit remote_{name}{method.shape}: {e}"
            ) from None
        self._told.append((name, *bound.args[method.skip :], *([bound.kwargs] if bound.kwargs else [])))
        result = method.answer(*args, **kw)
        if inspect.iscoroutine(result):
            result = Deferred.fromCoroutine(result)
        return broker.serialize(result, None, method, args, kw)

    def remote_goodbye(self, reason: str, detail: str = "") -> None:
        """Every client may be told this when the server ends its session; it is written down."""

    def _declare(self, target: Any) -> None:
        isClass = isinstance(target, type)
        for attribute in dir(target):
            if attribute.startswith("remote_") and callable(method := getattr(target, attribute)):
                answer = _nothing if isClass else method
                # Of a class it is a function still, with a place for self, unless it is a static or class method.
                plain = isClass and inspect.isfunction(inspect.getattr_static(target, attribute))
                self._methods[attribute.removeprefix("remote_")] = _Method(method, int(plain), answer)

    def _known(self) -> str:
        if not self._methods.keys() - {"goodbye"}:
            return "nothing was declared; say what it may be told, such as RecordingMind(scoreIs=lambda score: None)"
        return "it has " + ", ".join(
            f"{name}{method.shape}" for name, method in sorted(self._methods.items()) if name != "goodbye"
        )

    def _complaint(self, text: str) -> Error:
        self._complaints.append(text)
        return Error(text)


class _Method:
    """
    What a mind may be told.

    :param declared: whose signature counts.
    :param skip: how many arguments come before those of the call: self.
    :param answer: what is called.
    """

    def __init__(self, declared: Callable[..., Any], skip: int, answer: Callable[..., Any]) -> None:
        self.skip = skip
        self.answer = answer
        signature = inspect.signature(declared)
        self._signature = signature
        self.shape = str(signature.replace(parameters=list(signature.parameters.values())[skip:]))

    def bind(self, args: Any, kw: Any) -> inspect.BoundArguments:
        """:raises TypeError: they do not fit."""
        return self._signature.bind(*[None] * self.skip, *args, **kw)


def _nothing(*args: Any, **kw: Any) -> None:
    """Answer None."""


def _call(name: str, args: Any, kw: Any) -> str:
    return f"{name}({', '.join([*map(repr, args), *(f'{key}={value!r}' for key, value in kw.items())])})"

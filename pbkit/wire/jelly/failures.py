"""
The errors that a peer sends.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import IO, NoReturn, cast

from twisted.python import log as oldlog
from twisted.python.failure import Failure
from twisted.spread import pb

from pbkit.errors import BadValue, RemoteError
from pbkit.wire.jelly.copystate import hides
from pbkit.wire.peerlog import escaped

#: How many characters of a peer's error text are shown.
TEXT = 1000


class ReceivedFailure(pb.CopiedFailure):
    """
    Stock's, with the peer's text escaped and cut when it is printed: an unhandled error prints it to the log.
    """

    def printTraceback(
        self, file: IO[str] | None = None, elideFrameworkCode: object = 0, detail: object = "default"
    ) -> None:
        """As stock's."""
        write = cast("IO[str]", oldlog.logfile if file is None else file).write
        write(f"Traceback from remote host -- {escaped(self.type, TEXT)}: {escaped(str(self.value), TEXT)}\n")  # type: ignore[arg-type]

    def raiseException(self) -> NoReturn:
        """Raise a `RemoteError`, where stock's raises AttributeError."""
        raise self._error()

    def throwExceptionIntoGenerator(self, g: Generator[object, object, object]) -> object:
        """As stock's, but the exception has the classes that the peer's derives from: a gateway may pass it on."""
        return g.throw(self._error())

    def _error(self) -> RemoteError:
        parents = tuple(map(_decoded, cast("list[object]", self.parents)))
        return RemoteError(
            _decoded(self.type), _decoded(self.value), parents, _decoded(vars(self).get("traceback", ""))
        )

    printBriefTraceback = printTraceback
    printDetailedTraceback = printTraceback


def receivedFailure(error: object) -> Failure:
    """
    Return the failure for the caller of a method.

    :param error: what the peer sent as the error, after unjelly; it may be anything.
    :return: a failure whose class name and text are texts.
    """
    if isinstance(error, pb.CopiedFailure):
        return _checked(error)
    if isinstance(error, Failure):
        return error
    if isinstance(error, Exception):
        return Failure(error)
    if isinstance(error, str | bytes):
        return Failure(pb.Error(f"the peer sent an error that is only a text: {escaped(error, TEXT)}"))
    return Failure(pb.Error(f"the peer sent an error that is a {type(error).__name__}, expected a failure"))


def _checked(failure: pb.CopiedFailure) -> Failure:
    state: dict[str, object] = vars(failure)
    # Stock keeps the names of the classes as "_parents" since Twisted 24.10.
    parents = state.get("_parents", state.get("parents", []))
    right = _isText(state.get("type")) and _isText(state.get("value")) and _isText(state.get("traceback", ""))
    if not right or not isinstance(parents, list) or not all(map(_isText, parents)):
        # Stock's code raises when it asks such a failure for its class, and then no caller gets an answer.
        return Failure(BadValue("the peer sent a failure whose class or text is not text"))
    found = ReceivedFailure.__new__(ReceivedFailure)
    # The peer chose the names, too: an attribute "check" or "cleanFailure" would hide the method, which Deferreds call.
    vars(found).update(
        {name: value for name, value in state.items() if type(name) is str and not hides(type(found), name)}
    )
    vars(found).update(tb=None, frames=[])
    if isinstance(found.value, bytes):
        # Servers on Python 2 send bytes.
        vars(found)["value"] = found.value.decode("utf-8", "backslashreplace")
    return found


def _decoded(text: object) -> str:
    return text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else str(text)


def _isText(value: object) -> bool:
    if isinstance(value, bytes):
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return isinstance(value, str | bytes)

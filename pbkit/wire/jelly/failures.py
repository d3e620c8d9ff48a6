"""
What the other end says of an error.
"""

from __future__ import annotations

from typing import Any

from twisted.python import log as oldlog
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import pb

from pbkit.errors import BadValue
from pbkit.wire.peerlog import escaped

#: How much of its text is shown, in characters.
TEXT = 1000


class ToldFailure(pb.CopiedFailure):
    """Stock's, but what the other end has put into it may stand in the log: whoever forgets an error has it there."""

    def printTraceback(self, file: Any = None, elideFrameworkCode: object = 0, detail: object = "default") -> None:
        """As stock's."""
        write = (oldlog.logfile if file is None else file).write
        write(f"Traceback from remote host -- {escaped(self.type, TEXT)}: {escaped(str(self.value), TEXT)}\n")  # type: ignore[arg-type]

    printBriefTraceback = printTraceback
    printDetailedTraceback = printTraceback


def told(error: Any) -> Failure:
    """
    What an error has been read as, for whoever waits.

    :param error: whatever came.
    :return: a failure of which nobody will find that it is none: its class and its text are texts.
    """
    if isinstance(error, pb.CopiedFailure):
        return _checked(error)
    if isinstance(error, Failure):
        return error
    if isinstance(error, Exception):
        return Failure(error)
    return Failure(pb.Error(f"the other end's error is {escaped(safe_str(error), TEXT)}"))


def _checked(failure: pb.CopiedFailure) -> Failure:
    state: dict[str, Any] = vars(failure)
    parents = state.get("parents", [])
    right = _isText(state.get("type")) and _isText(state.get("value")) and _isText(state.get("traceback", ""))
    if not right or not isinstance(parents, list) or not all(map(_isText, parents)):
        # Stock's code fails when it asks what it is, and then nobody is told anything.
        return Failure(BadValue("a failure that is none"))
    found = ToldFailure.__new__(ToldFailure)
    vars(found).update(state)
    if isinstance(found.value, bytes):
        # As sent by servers on Python 2.
        vars(found)["value"] = found.value.decode("utf-8", "backslashreplace")
    return found


def _isText(value: Any) -> bool:
    if isinstance(value, bytes):
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            return False
    return isinstance(value, str | bytes)

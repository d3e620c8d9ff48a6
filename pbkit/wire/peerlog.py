"""
`PeerLog`: the log lines that one connection may cause. `escaped`: a peer's text, made safe for the log.

A peer's text is escaped and cut before it is logged, and each connection may cause a limited number of lines per
second. A connection creates its `PeerLog` when it logs its first line::

    if self.peerLog.admits():
        log.info("login refused: {reason} from {peer}", reason=self.peerLog.escaped(text), peer=str(self.peer))

or, for an exception, ``self.peerLog.failure(log, "a call failed")``. Call ``peerLog.close()`` when the connection is
lost.
"""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import pb

from pbkit.wire.profile import Log

log = Logger()

#: Marks where a text was cut.
CUT = "..."

#: How many lines of the beginning and of the end of a traceback are logged: a frame takes two lines.
LINES = 60


def escaped(text: str | bytes, cut: int) -> str:
    """
    Return a peer's text in a form that is safe in a line of the log.

    Characters that a terminal would act on (ESC, line ends, those that change the direction of writing) or not show are
    written as in a Python string. So is a backslash: otherwise an escape could not be told from the same characters in
    the text.

    :param text: bytes are decoded as UTF-8; bytes that are not UTF-8 are escaped.
    :param cut: the number of characters after which the text is cut, and `CUT` appended.
    """
    # Do not process more of a long text than can be shown.
    if isinstance(text, bytes):
        text = text[: 4 * cut + 4].decode("utf-8", "surrogateescape")
    head = text[: cut + 1]
    if len(head) <= cut and head.isprintable() and "\\" not in head:
        return head
    pieces, room = [], cut
    for character in head:
        piece = character
        if "\udc80" <= character <= "\udcff":
            piece = f"\\x{ord(character) - 0xDC00:02x}"
        elif character == "\\" or not character.isprintable():
            piece = character.encode("unicode_escape").decode("ascii")
        room -= len(piece)
        if room < 0:
            pieces.append(CUT)
            break
        pieces.append(piece)
    return "".join(pieces)


class EscapedFailure(Failure):
    """A failure whose traceback is safe in the log; in all else it is the one that it wraps. See `escapedFailure`."""

    def __init__(self, failure: Failure, cut: int) -> None:
        self.__dict__.update(failure.__dict__)
        self._whole = failure
        self._cut = cut

    def printTraceback(self, file: Any = None, elideFrameworkCode: Any = False, detail: str = "default") -> None:
        """Print it with the text escaped and cut, and the middle of a long traceback left out."""
        text = escaped(_textOf(self), self._cut)
        if isinstance(self._whole, pb.CopiedFailure):
            # The name of the class is the peer's text, too.
            kind = self.type if isinstance(self.type, str | bytes) else f"({type(self.type).__name__})"
            file.write(f"Traceback from remote host -- {escaped(kind, self._cut)}: {text}\n")
            return
        whole = StringIO()
        self._whole.printTraceback(whole, detail=detail)
        lines = whole.getvalue().replace(safe_str(self.value), text).splitlines(keepends=True)
        if len(lines) > 2 * LINES:
            lines[LINES:-LINES] = [f"  ({len(lines) - 2 * LINES} lines left out)\n"]
        file.write("".join(lines))


def _textOf(failure: Failure) -> str | bytes:
    """Return the text of a failure. The peer chose all that is in its own: what is not a text is not made into one."""
    if not isinstance(failure, pb.CopiedFailure):
        return safe_str(failure.value)
    value: object = failure.value
    return value if isinstance(value, str | bytes) else f"({type(value).__name__})"


def escapedFailure(failure: Failure, cut: int) -> Failure:
    """
    Return a failure in a form that is safe in the log: an exception's text often quotes what the peer sent.

    :param cut: the number of characters after which that text is cut. Of a long traceback only the first and the last
        `LINES` are logged: a peer's message can make a method recurse as deep as Python allows.
    """
    text = _textOf(failure)
    whole = escaped(text, cut) == text and not isinstance(failure, pb.CopiedFailure)
    return failure if whole and len(failure.frames) <= LINES // 2 else EscapedFailure(failure, cut)


class LogBudget:
    """
    The log lines that all connections of one server may cause together.

    :param lines: how many per second, or None.
    :param seconds: returns the time, such as a clock's `seconds`.
    """

    __slots__ = ("_dropped", "_limit", "_lines", "_seconds", "_since")

    def __init__(self, lines: int | None, seconds: Callable[[], float]) -> None:
        self._limit = lines
        self._seconds = seconds
        self._since = seconds()
        self._lines = self._dropped = 0

    def admits(self, lines: int = 1) -> bool:
        """
        Ask for one line, and count it.

        :param lines: how many lines are dropped if it is not logged.
        :return: whether to log that line.
        """
        if self._limit is None:
            return True
        self.report()
        if self._lines >= self._limit:
            self._dropped += lines
            return False
        self._lines += 1
        return True

    def report(self) -> None:
        """If a second has passed, begin a new one, and log how many lines were dropped before, if any."""
        now = self._seconds()
        if now - self._since >= 1 or now < self._since:
            self._since, self._lines = now, 0
            dropped, self._dropped = self._dropped, 0
            if dropped:
                log.warn("{dropped} more lines were not logged: they exceed log.total", dropped=dropped)


class PeerLog:
    """
    The log lines that one connection may cause.

    :param limits: how many lines, and how long a text.
    :param seconds: returns the time, such as a clock's `seconds`.
    :param who: names the connection in the line that reports dropped lines: ``str(who)``.
    :param budget: of the server, or None.
    """

    __slots__ = ("_budget", "_dropped", "_limits", "_lines", "_seconds", "_since", "_who")

    def __init__(self, limits: Log, seconds: Callable[[], float], who: object, budget: LogBudget | None = None) -> None:
        self._limits = limits
        self._seconds = seconds
        self._who = who
        self._budget = budget
        self._since = seconds()
        self._lines = self._dropped = 0

    def admits(self) -> bool:
        """
        Ask for one line, and count it.

        :return: whether to log that line.
        """
        if self._limits.lines is None:
            return True
        now = self._seconds()
        if now - self._since >= 1 or now < self._since:
            self.close()
            self._since, self._lines = now, 0
        if self._lines >= self._limits.lines:
            self._dropped += 1
            return False
        self._lines += 1
        return self._budget is None or self._budget.admits()

    def failure(self, log: Logger, format: str, failure: Failure | None = None, **fields: Any) -> None:
        """
        Log an exception with its traceback, if the limit allows.

        :param log: the logger of the calling module.
        :param format: the text of the line.
        :param failure: by default, that of the exception being handled.
        :param fields: the fields of `format`.
        """
        if self.admits():
            log.failure(format, escapedFailure(Failure() if failure is None else failure, self._limits.cut), **fields)

    def close(self) -> None:
        """Log how many lines were dropped, if any. Call it when the connection is lost."""
        dropped, self._dropped = self._dropped, 0
        if dropped and (self._budget is None or self._budget.admits(dropped)):
            log.warn(
                "{dropped} more lines about {peer} were not logged: they exceed log.lines",
                dropped=dropped,
                peer=str(self._who),
            )

    def escaped(self, text: str | bytes) -> str:
        """Return a peer's text, escaped and cut at `Log.cut`."""
        return escaped(text, self._limits.cut)

"""
What a connection may have written into the log.

A peer's text goes into the log escaped and cut, and of one connection's lines there are only so many in a second. One
`PeerLog` for a connection, made when its first line is to be written::

    if self.peerLog.admits():
        log.info("login refused: {reason} from {peer}", reason=self.peerLog.escaped(text), peer=str(self.peer))

or, for what was raised, ``self.peerLog.failure(log, "a call failed")``, and ``peerLog.close()`` when it is lost.
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

#: What stands where something was cut off.
CUT = "..."

#: How much of the beginning and of the end of a traceback is told, in lines: two of them are a frame.
LINES = 60


def escaped(text: str | bytes, cut: int) -> str:
    """
    A peer's text, as it may stand in a line of the log: what a terminal would obey (ESC, line ends, what turns the
    direction of writing) or not show is written as in a Python string. So is a backslash, or nobody could tell.

    :param text: bytes are read as UTF-8, and what is none of that is escaped too.
    :param cut: in how many characters; `CUT` follows where that was not enough.
    """
    # No more is looked at than could be shown.
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


class _Shown(Failure):
    """A failure, as `shown` has it; in all else it is the one that it is made from."""

    def __init__(self, failure: Failure, cut: int) -> None:
        self.__dict__.update(failure.__dict__)
        self._whole = failure
        self._cut = cut

    def printTraceback(self, file: Any = None, elideFrameworkCode: Any = False, detail: str = "default") -> None:
        """As stock's, but for the text."""
        text = escaped(safe_str(self.value), self._cut)
        if isinstance(self._whole, pb.CopiedFailure):
            # From the other end, name and all.
            kind = self.type if isinstance(self.type, str | bytes) else safe_str(self.type)
            file.write(f"Traceback from remote host -- {escaped(kind, self._cut)}: {text}\n")
            return
        whole = StringIO()
        self._whole.printTraceback(whole, detail=detail)
        lines = whole.getvalue().replace(safe_str(self.value), text).splitlines(keepends=True)
        if len(lines) > 2 * LINES:
            lines[LINES:-LINES] = [f"  ({len(lines) - 2 * LINES} lines are left out here)\n"]
        file.write("".join(lines))


def shown(failure: Failure, cut: int) -> Failure:
    """
    A failure as it may stand in the log. The text of what was raised often quotes what the peer sent.

    :param cut: in how many characters that text is told. Of where it was raised a long traceback has the first and the
        last `LINES`: what a peer sends can have a method recurse as deep as Python goes.
    """
    text = safe_str(failure.value)
    whole = escaped(text, cut) == text and not isinstance(failure, pb.CopiedFailure)
    return failure if whole and len(failure.frames) <= LINES // 2 else _Shown(failure, cut)


class PeerLog:
    """
    The lines of one connection.

    :param limits: how many there may be, and how long a text.
    :param seconds: the time, such as a clock's `seconds`.
    :param who: the connection, for the line that says how many were dropped: ``str(who)``.
    """

    __slots__ = ("_dropped", "_limits", "_lines", "_seconds", "_since", "_who")

    def __init__(self, limits: Log, seconds: Callable[[], float], who: object) -> None:
        self._limits = limits
        self._seconds = seconds
        self._who = who
        self._since = seconds()
        self._lines = self._dropped = 0

    def admits(self) -> bool:
        """
        :return: whether one more line may be written now. Ask once for each, and write it if so.
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
        return True

    def failure(self, log: Logger, format: str, failure: Failure | None = None, **fields: Any) -> None:
        """
        Write down what was raised, with its traceback, if one more line may be written.

        :param log: of the module that says so.
        :param failure: by default, of the exception that is being handled.
        :param fields: of the format.
        """
        if self.admits():
            log.failure(format, shown(Failure() if failure is None else failure, self._limits.cut), **fields)

    def close(self) -> None:
        """There will be no more lines: say how many were dropped, if any were."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warn("{dropped} more lines about {peer} were not written", dropped=dropped, peer=str(self._who))

    def escaped(self, text: str | bytes) -> str:
        """As the function of that name, cut as the limits say."""
        return escaped(text, self._limits.cut)

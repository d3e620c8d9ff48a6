"""
What a connection may have written into the log.

A peer's text goes into the log escaped and cut, and of one connection's lines there are only so many in a second. One
`Journal` for a connection, made when its first line is to be written::

    if self.journal.admits():
        log.info("login refused: {reason} from {peer}", reason=self.journal.escaped(text), peer=str(self.peer))

or, for what was raised, ``self.journal.failure(log, "a call failed")``, and ``journal.close()`` when it is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str
from twisted.spread import pb

from pbkit.wire.profile import Log

log = Logger()

#: What stands where something was cut off.
CUT = "..."

#: How much of the text of an exception is written, in characters, and into how many lines more than one: it is the
#: program's own, and may hold some of the peer's.
TEXT, LINES = 1000, 20
#: How many frames of the beginning and of the end of a traceback are written.
FRAMES = 30


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


def presentable(failure: Failure) -> Failure:
    """
    A failure, as its traceback may stand in the log. A method says in its exceptions what it was called with.

    :return: itself; or a copy with the text of its exception escaped as by `escaped`, but for line ends, which the log
        indents, and cut. Of a traceback that is very long it has the beginning and the end: what a peer sends can have
        a method call itself as deep as Python goes.
    """
    copied = isinstance(failure, pb.CopiedFailure)
    kind: Any = failure.type
    name = escaped(kind if isinstance(kind, bytes) else safe_str(kind), TEXT) if copied else ""
    text = safe_str(failure.value)
    shown = "\n".join(
        line if line.isprintable() else escaped(line, TEXT) for line in text[: TEXT + 1].split("\n", LINES)
    )
    shown = shown if len(shown) <= TEXT else f"{shown[:TEXT]}{CUT}"
    frames = [] if copied else failure.frames
    if shown == text and not copied and len(frames) <= 2 * FRAMES:
        return failure
    copy = failure.__class__.__new__(failure.__class__)
    copy.__dict__.update(failure.__dict__)
    if copied:
        # It writes these two and nothing else, if they are texts.
        copy.type, copy.value = name, shown  # type: ignore[assignment]
    elif shown != text:
        copy.value = _Text(shown)
    if len(frames) > 2 * FRAMES:
        gap: Any = (f"({len(frames) - 2 * FRAMES} more calls)", "...", 0, [], [])
        copy.frames = [*frames[:FRAMES], gap, *frames[-FRAMES:]]
    return copy


class _Text(Exception):
    """Stands for an exception whose text cannot be shown as it is."""


class Journal:
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
            log.failure(format, presentable(Failure() if failure is None else failure), **fields)

    def close(self) -> None:
        """There will be no more lines: say how many were dropped, if any were."""
        dropped, self._dropped = self._dropped, 0
        if dropped:
            log.warn("{dropped} more lines about {peer} were not written", dropped=dropped, peer=str(self._who))

    def escaped(self, text: str | bytes) -> str:
        """As the function of that name, cut as the limits say."""
        return escaped(text, self._limits.cut)

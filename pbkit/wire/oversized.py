"""
`OversizedMessage`: finds the end of a message that exceeds a limit, without keeping the message.

Such a message costs the call that it belongs to, and not the connection. To answer the call, its head is kept: the
command and the request id. The references in it must be given back, or the peer keeps their objects for as long as it
is connected; they are found as in `pbkit.wire.jelly.expressions.handles`, but in one pass over the bytes as they
arrive.
"""

from __future__ import annotations

import re

from twisted.spread.banana import Banana

from pbkit.errors import BadValue, Malformed, TooLarge
from pbkit.wire.jelly.expressions import LEAVES, SEQUENCES

#: How many times ``limits.message`` a message may take before the connection is closed.
CLOSING = 16

#: How many elements of the message are kept: of a call, all but the arguments.
HEAD = 5

#: The field of `pbkit.wire.profile.Limits` that each `TooLarge.which` exceeds.
_FIELDS = {"message": "message", "items": "items", "list": "items", "depth": "depth", "string": "string"}

#: The longest text that is read, in bytes: commands, request ids and names of classes are shorter.
TEXT = 255

#: How deep references are looked for. Stock cannot send anything that is nested deeper than 324.
DEPTH = 1000

#: The type bytes of Banana.
LIST, STRING, FLOAT, VOCABULARY, LAST = 0x80, 0x82, 0x84, 0x87, 0x87

#: 64 numbers or abbreviated words in a row, which are passed over in one step.
_RUN = re.compile(rb"(?:[\x00-\x7f]{0,9}[\x81\x83\x85\x86\x87]){64}")
_RUN_LENGTH = 64

#: What a list may be: the message itself; jelly; a key and its value in a dictionary; something without references.
_MESSAGE, _JELLY, _PAIR, _OPAQUE = range(4)

#: Where the jelly begins in a message, by its command.
_ARGUMENTS = {b"message": 5, b"cachemessage": 5, b"answer": 2, b"error": 2}

#: An item that is neither a text nor an integer, or too long to be read.
_OTHER = object()


def refusal(which: str, limit: int, isClient: bool) -> BadValue:
    """
    Return the error that a call fails with because it, or its answer, exceeds a limit of this end.

    :param which: a `TooLarge.which`, or ``jelly``.
    """
    name = f"limits.{_FIELDS.get(which, which)}"
    end, how = "the server", "under [profile] of the configuration, or with ServerFactory(profile=...)"
    if isClient:
        end, how = "the client", "with connect(..., profile=...) or ClientFactory(profile=...)"
    return BadValue(f"it exceeds {name} of {end} ({limit:,}); raise {name} {how}")


class _List:
    """A list whose end has not been reached."""

    __slots__ = ("index", "kind", "length", "role")

    def __init__(self, role: int, length: int) -> None:
        self.role = role
        self.length = length
        self.index = 0
        # The first element of a jelly list, which says what the list stands for.
        self.kind: object = None


class OversizedMessage:
    """
    One message that is passed over.

    :param error: the limit that the message exceeds.
    :param most: how many bytes the message may take.
    :param vocabulary: True if common words are abbreviated.
    :param prefix: how many bytes a number may take.
    :ivar head: the first elements of the message, as far as they are texts and integers.
    :ivar complete: True once the end of the message has been found.
    :ivar references: the ids of references found since they were last taken out.
    :ivar caches: the ids of Cacheables found since they were last taken out.
    """

    __slots__ = (
        "_deeper",
        "_lists",
        "_most",
        "_prefix",
        "_rest",
        "_size",
        "_skip",
        "_words",
        "caches",
        "complete",
        "error",
        "head",
        "references",
    )

    def __init__(self, error: TooLarge, most: int, vocabulary: bool, prefix: int) -> None:
        self.error = error
        self._most = most
        self._prefix = prefix
        self._words: dict[int, bytes] = Banana.incomingVocabulary if vocabulary else {}
        self._lists: list[_List] = []
        # How many items are to come in lists that are nested too deep to be looked into.
        self._deeper = 0
        # How many bytes of a text or a float are still to be passed over.
        self._skip = 0
        # The beginning of an item that has not arrived completely.
        self._rest = b""
        self._size = 0
        self.complete = False
        self.head: list[object] = []
        self.references: list[int] = []
        self.caches: list[int] = []

    def feed(self, data: bytes) -> bytes:
        """
        Pass over received bytes.

        :return: what follows after the end of the message; b"" before the end.
        :raises TooLarge: if the message takes more than `most` bytes, or contains a number that is too long.
        :raises Malformed: if it is not Banana.
        """
        if self._skip >= len(data) and not self._rest:
            self._skip -= len(data)
            self._count(len(data))
            self.complete = not (self._skip or self._lists or self._deeper)
            return b""
        start, self._skip = self._skip, 0
        self._count(start)
        data = self._rest + data[start:]
        self._rest = b""
        position = 0
        while self._lists or self._deeper or not self._size:
            found = self._item(data, position)
            if found is None:
                self._rest = data[position:]
                return b""
            self._count(found - position)
            position = found
            if position > len(data):
                self._skip = position - len(data)
                self._size -= self._skip
                return b""
        self.complete = True
        return data[position:]

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._most:
            raise TooLarge("message", self._most)

    def _item(self, data: bytes, position: int) -> int | None:
        """
        Pass over one item, or several numbers.

        :return: where the next item begins, which may be behind the end of `data`; None if this item is incomplete.
        """
        around = self._lists[-1] if self._lists else None
        left = self._deeper or (0 if around is None else around.length - around.index)
        if left >= _RUN_LENGTH and (self._deeper or (around is not None and around.index > HEAD)):
            run = _RUN.match(data, position)
            if run is not None:
                self._passed(_RUN_LENGTH)
                return run.end()
        start, size = position, len(data)
        while position < size and data[position] < 0x80:
            position += 1
        if position - start > self._prefix:
            raise TooLarge("prefix", self._prefix)
        if position == size:
            return None
        number = 0
        for byte in reversed(data[start:position]):
            number = number << 7 | byte
        kind = data[position]
        position += 1
        if kind > LAST:
            raise Malformed(f"invalid Banana type byte {kind:#04x}")
        if kind == LIST:
            if number > self._most:
                raise TooLarge("message", self._most)
            self._begin(number)
            return position
        value: object = _OTHER
        if kind == STRING:
            if number > self._most:
                raise TooLarge("message", self._most)
            end = position + number
            if number <= TEXT and end > size:
                return None
            if number <= TEXT:
                value = data[position:end]
            position = end
        elif kind == FLOAT:
            position += 8
        elif kind == VOCABULARY:
            value = self._words.get(number, _OTHER)
        else:
            value = -number if kind in (0x83, 0x86) else number
        self._value(value)
        return position

    def _begin(self, length: int) -> None:
        """Enter a list."""
        if self._deeper or len(self._lists) >= DEPTH:
            # The list itself is one of those that were to come.
            if self._deeper:
                self._deeper += length - 1
                if not self._deeper:
                    self._passed(1)
            elif length:
                self._deeper = length
            else:
                self._passed(1)
            return
        role = _MESSAGE
        if self._lists:
            around = self._lists[-1]
            role = self._role(around)
            if around.role == _MESSAGE and around.index < HEAD:
                self.head.append(_OTHER)
        self._lists.append(_List(role, length))
        if not length:
            self._passed(0)

    def _role(self, around: _List) -> int:
        if around.role == _MESSAGE:
            first = _ARGUMENTS.get(self.head[0]) if self.head and isinstance(self.head[0], bytes) else None
            return _JELLY if first is not None and around.index >= first else _OPAQUE
        if around.role == _PAIR:
            return _JELLY
        if around.role == _OPAQUE or around.index == 0 or not isinstance(around.kind, bytes):
            return _OPAQUE
        if around.kind == b"dictionary":
            return _PAIR
        if around.kind == b"reference":
            return _JELLY if around.index > 1 else _OPAQUE
        if around.kind in SEQUENCES:
            return _JELLY
        if around.kind in LEAVES or around.kind in (b"remote", b"cached"):
            return _OPAQUE
        # An instance of some class: its state comes last.
        return _JELLY if around.index == around.length - 1 else _OPAQUE

    def _value(self, value: object) -> None:
        """Take a text, a number, or something else that is no list."""
        if not self._deeper and self._lists:
            around = self._lists[-1]
            if around.role == _MESSAGE:
                if around.index < HEAD:
                    self.head.append(value)
            elif around.role == _JELLY:
                if around.index == 0:
                    around.kind = value
                elif around.index == 1 and isinstance(value, int) and isinstance(around.kind, bytes):
                    self._id(around.kind, around.length, value)
        self._passed(1)

    def _id(self, kind: bytes, length: int, luid: int) -> None:
        if kind in (b"remote", b"cached"):
            if length == 2:
                (self.references if kind == b"remote" else self.caches).append(luid)
        elif length == 3 and kind not in SEQUENCES and kind not in LEAVES and kind not in (b"dictionary", b"reference"):
            self.caches.append(luid)

    def _passed(self, count: int) -> None:
        """Count items, and leave the lists that end with them."""
        if self._deeper:
            self._deeper -= count
            if self._deeper:
                return
            count = 1
        while self._lists:
            around = self._lists[-1]
            around.index += count
            if around.index < around.length:
                return
            self._lists.pop()
            count = 1

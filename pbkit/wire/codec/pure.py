"""
The codec in Python. `pbkit.wire.codec` uses the compiled one where it was built; both do the same.

The module is ordered as a message is read and then written: where it ends, what it says in Banana, what it says in
plain values; then values to bytes.

The readers and writers of plain values handle what is frequent, and return None for the rest: `twisted.spread.jelly`
then decides what comes of it. Plain values are None, bool, int, float, str, bytes, list, tuple, dict, set and
frozenset, by exact type. The two functions that do most of the work, `_read` and `_write`, are long because a call in
Python takes as much time as reading an item.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

from twisted.python.reflect import fullyQualifiedName
from twisted.spread.banana import Banana, BananaError

from pbkit.errors import Malformed, TooLarge
from pbkit.wire.codec.hashflood import COLLISIONS, crowded

# The compiled codec reads the constants without an underscore at import, so that each limit is defined once.

LIST, INT, STRING, NEG, FLOAT, LONGINT, LONGNEG, VOCAB = range(0x80, 0x88)

#: The most levels of plain values that are read or written here. Deeper values are left to stock's unjelly, which needs
#: three frames a level and fails at 324.
MAX_DEPTH = 128

#: The most bytes of a number in a plain value: stock's limit. Longer numbers, which a program can allow with
#: `setPrefixLimit`, are left to stock.
MAX_PREFIX = 64

#: The default limit on the size of a value when it is walked: that of the drop-in profile.
MAX_ITEMS = 4_000_000

#: Banana's vocabulary: words by their numbers.
WORDS: dict[int, bytes] = dict(Banana.incomingVocabulary)

#: How many keys of dicts are remembered each way, and the longest of them in characters.
_KEYS, _KEY = 1024, 40

_double = struct.Struct("!d")
_pack, _unpack = _double.pack, _double.unpack_from
#: What begins every text in jelly, after the two bytes that begin a list of two items.
_TEXT = b"\x07\x82unicode"
#: The digits of numbers in Banana.
_DIGITS = bytes(range(0x80))
#: Up to 64 items that end where their type byte is: numbers without floats, and words of the vocabulary. The possessive
#: quantifiers ("+") prevent backtracking.
_NUMBERS_RUN = re.compile(rb"(?:[\x00-\x7f]{0,9}+[\x81\x83\x85-\x87]){1,64}+")
#: Integers of at most four digits.
_INTS_RUN = re.compile(rb"(?:[\x00-\x7f]{1,4}\x81)++")
#: From how many items on a list is searched for a run of integers.
_MANY = 12

#: A message in plain values, or None.
_Plain = tuple[Any, ...] | None
#: A value, of any plain type.
_Value = Any
#: What `Framer` has read last: a message, and what `decodePlain` returns for it.
_ready: tuple[bytes, _Plain] | None = None


# Where a message ends.


class Framer:
    """
    Finds where messages end, and holds the bytes received until then. Looks at each byte a few times at most.

    Lengths count when they are announced, so a string or list that is too long is refused before its content arrives.
    After an error all input is discarded.

    :param message: the most bytes of a message.
    :param items: the most lists, numbers and strings in a message, and elements of one list.
    :param depth: the most lists within lists.
    :param string: the most bytes of one string.
    :param prefix: the most bytes of one number or length. Stock's `banana.setPrefixLimit`.
    """

    __slots__ = (
        "_buffer",
        "_ends",
        "_error",
        "_fast",
        "_limits",
        "_nextLimits",
        "_pending",
        "_plainDepth",
        "_pos",
        "_refused",
        "_start",
        "_total",
    )

    def __init__(self, message: int, items: int, depth: int, string: int, prefix: int = 64) -> None:
        self.limit(message, items, depth, string, prefix)
        self._limits = self._nextLimits
        self._buffer: bytes | bytearray = b""
        # The message begins at _start. The next item begins at _pos, which may be beyond the end of the buffer.
        # _pending items are still to come; _total were announced, 0 before a message has begun.
        self._start = self._pos = self._pending = self._total = 0
        # For each list that is open: how many items will be pending when it has ended.
        self._ends: list[int] = []
        self._error: tuple[type[ValueError], tuple[Any, ...]] | None = None
        self._refused = b""

    @property
    def held(self) -> int:
        """How many bytes are held: of a message that is not complete, or that nobody has asked for."""
        return len(self._buffer) - self._start

    def limit(self, message: int, items: int, depth: int, string: int, prefix: int = 64) -> None:
        """
        Set other limits, from the next message on. A message that has begun keeps its limits.
        """
        for limit in (message, items, depth, string, prefix):
            if limit < 1:
                raise ValueError(f"invalid limit {limit!r}: expected 1 or more")
        self._nextLimits = (message, items, depth, string, prefix)
        # A message of so few bytes is within the limits on sizes, since each item takes at least one byte.
        self._fast = min(message, items, string) if depth >= 2 and prefix >= MAX_PREFIX else 0
        # The message itself is one list, and so is a text. A dict has two lists for each level.
        self._plainDepth = min(MAX_DEPTH, depth // 2 - 1)

    def feed(self, chunk: bytes) -> None:
        """
        Receive bytes. `next` then looks at them.
        """
        if self._error is not None:
            return
        buffer, start = self._buffer, self._start
        if start == len(buffer):
            # The usual case. The next message is then cut out of the chunk itself.
            self._buffer = chunk if type(chunk) is bytes else bytes(memoryview(chunk))
        else:
            if not isinstance(buffer, bytearray):
                buffer = self._buffer = bytearray(memoryview(buffer)[start:])
            elif start:
                # A bytearray does not copy when its beginning is deleted.
                del buffer[:start]
            buffer += chunk
        self._pos -= start
        self._start = 0

    def next(self) -> bytes | None:
        """
        Return the bytes of the next message, or None if it is not complete.

        :raises TooLarge: it exceeds a limit, or will.
        :raises Malformed: it has a type byte that Banana does not define.
        """
        if self._error is not None:
            cls, args = self._error
            raise cls(*args)
        buffer, start = self._buffer, self._start
        size = len(buffer)
        if not self._total:
            if start == size:
                return None
            if size - start <= self._fast and type(buffer) is bytes:
                message = self._plainMessage(buffer, start)
                if message is not None:
                    return message
            self._limits, self._pending, self._total = self._nextLimits, 1, 1
            self._ends.clear()
        try:
            if self._pending:
                self._scan(buffer)
            end = self._pos
            if end - start > self._limits[0]:
                raise TooLarge("message", self._limits[0])
        except ValueError as error:
            self._error = (type(error), error.args)
            self._refused = bytes(memoryview(buffer)[start:])
            self._buffer = b""
            self._start = self._pos = 0
            raise
        if self._pending or end > size:
            return None
        return self._cut(end)

    def refused(self) -> bytes:
        """
        After an error: return what was held, from the beginning of the message that exceeds a limit, and drop it.
        """
        refused, self._refused = self._refused, b""
        return refused

    def _cut(self, end: int) -> bytes:
        """
        Return the bytes before `end`, and keep the rest.
        """
        buffer, start = self._buffer, self._start
        self._total = 0
        if end == len(buffer):
            self._buffer = b""
            self._start = self._pos = 0
        elif type(buffer) is bytes:
            self._start = self._pos = end
        else:
            # The rest has just arrived. Cutting messages out of bytes takes half the time of a bytearray.
            self._buffer = bytes(memoryview(buffer)[end:])
            self._start = self._pos = 0
        return buffer[start:end] if type(buffer) is bytes else bytes(memoryview(buffer)[start:end])

    def _plainMessage(self, buffer: bytes, start: int) -> bytes | None:
        """
        Find the end of a message and its values in one pass, and keep the values for `decodePlain`. Most messages are
        plain, and complete when they are first looked at. Tried once for a message, so it stays linear.

        :return: None if the message is not like that.
        """
        global _ready
        isCall = _BEGINNINGS.get(buffer[start : start + 4])
        if isCall is None:
            return None
        try:
            plain, end = _readMessage(buffer, start + 4, isCall, _NUMBERED, self._plainDepth, self._nextLimits[1])
        except Exception:
            return None
        size = len(buffer)
        if end > size:
            return None
        if start or end < size:
            message = self._cut(end)
        else:
            message, self._buffer = buffer, b""
        _ready = (message, plain)
        return message

    def _scan(self, buffer: bytes | bytearray) -> None:
        """
        Go on to the end of the message, or to where bytes are missing.
        """
        most, items, depth, string, prefix = self._limits
        start, pos, pending, ends, total = self._start, self._pos, self._pending, self._ends, self._total
        at = pos
        try:
            while pending:
                at = pos
                kind = buffer[pos]
                pos += 1
                n = 0
                if kind < 0x80:
                    n = kind
                    kind = buffer[pos]
                    pos += 1
                    if kind < 0x80:
                        n, kind, pos = _number(buffer, at, prefix)
                if kind == STRING:
                    if n > string:
                        raise TooLarge("string", string)
                    pos += n
                    pending -= 1
                elif kind == LIST:
                    total += n
                    if n > items or total > items:
                        raise TooLarge("list" if n > items else "items", items)
                    # Lists that have ended are removed only here, because most items are not lists.
                    while ends and ends[-1] >= pending:
                        ends.pop()
                    if len(ends) >= depth:
                        raise TooLarge("depth", depth)
                    pending -= 1
                    ends.append(pending)
                    pending += n
                else:
                    pending -= 1
                    if kind == FLOAT:
                        pos += 8
                    elif kind > VOCAB:
                        raise Malformed(f"invalid Banana type byte {kind:#04x}")
                    elif pending >= 64 and prefix >= 9:
                        run = _NUMBERS_RUN.match(buffer, pos)
                        if run is not None:
                            pos = run.end()
                            pending -= len(run[0].translate(None, _DIGITS))
                if pos - start + pending > most and kind in (STRING, LIST):
                    raise TooLarge("message", most)
            at = pos
        except IndexError:
            if len(buffer) - at > prefix:
                raise TooLarge("prefix", prefix) from None
        self._pos, self._pending, self._total = at, pending, total


def _number(data: bytes | bytearray, pos: int, prefix: int) -> tuple[int, int, int]:
    """
    Read the beginning of an item.

    :return: the number, the type byte, and where the content begins.
    """
    n = shift = 0
    last = pos + prefix
    while (byte := data[pos]) < 0x80:
        if pos == last:
            raise TooLarge("prefix", prefix)
        n |= byte << shift
        shift += 7
        pos += 1
    return n, byte, pos + 1


# What a message says in Banana.


def decode(message: bytes, vocabulary: bool = True) -> Any:
    """
    Return what stock's Banana makes of a message. Does not recurse, whatever the depth.

    :param message: the bytes of one message, as `Framer.next` returns them.
    :param vocabulary: True in dialect ``pb``, where numbers stand for the words of the vocabulary.
    :raises Malformed: the bytes are not one whole message, or it has an unknown word.
    """
    items: list[Any] = []
    left = 1
    pos, size = 0, len(message)
    around: list[tuple[list[Any], int]] = []
    try:
        while True:
            n = kind = message[pos]
            if kind < 0x80 and (kind := message[pos + 1]) >= 0x80:
                pos += 2
            else:
                n, kind, pos = _number(message, pos, size)
            if kind == INT or kind == LONGINT:
                items.append(n)
            elif kind == STRING:
                items.append(message[pos : pos + n])
                pos += n
            elif kind == LIST:
                inner: list[Any] = []
                items.append(inner)
                around.append((items, left))
                # One more than it has, because the list itself is counted below.
                items, left = inner, n + 1
            elif kind == VOCAB:
                if not vocabulary:
                    raise Malformed(f"word number {n} without an agreed vocabulary")
                if n not in WORDS:
                    raise Malformed(f"unknown word number {n}")
                items.append(WORDS[n])
            elif kind == NEG or kind == LONGNEG:
                items.append(-n)
            elif kind == FLOAT:
                items.append(_unpack(message, pos)[0])
                pos += 8
            else:
                raise Malformed(f"invalid Banana type byte {kind:#04x}")
            left -= 1
            while not left:
                if not around:
                    if pos != size:
                        raise Malformed("not one whole message")
                    return items[0]
                items, left = around.pop()
                left -= 1
    except (IndexError, struct.error):
        raise Malformed("not one whole message") from None


# What a message says in plain values.


class _NotPlain(Exception):
    """Something is left to stock's jelly."""


#: What a list of jelly stands for, by the word that it begins with. Up to `_FROZENSET` they are containers.
_LIST, _TUPLE, _DICT, _SET, _FROZENSET, _NONE, _UNICODE, _BOOLEAN, _REFERENCE, _DEREFERENCE = range(10)
_FORMS = {
    b"list": _LIST,
    b"tuple": _TUPLE,
    b"dictionary": _DICT,
    b"set": _SET,
    b"frozenset": _FROZENSET,
    b"None": _NONE,
    b"unicode": _UNICODE,
    b"boolean": _BOOLEAN,
    b"reference": _REFERENCE,
    b"dereference": _DEREFERENCE,
}
_Numbered = dict[int, int]
#: The same by the number of the word; and without a vocabulary.
_NUMBERED: _Numbered = {number: _FORMS[word] for number, word in WORDS.items() if word in _FORMS}
_SPELLED: _Numbered = {}
#: Each form without anything in it.
_EMPTY: list[Callable[[], Any]] = [list, tuple, dict, set, frozenset, type(None)]
_CONTAINERS = frozenset((list, tuple, dict, set, frozenset))
_PAIR_OF_TEXT = b"\x02\x80\x02\x80" + _TEXT
#: The beginnings of texts of less than 128 bytes, and of true and false: the length of what follows, negative for the
#: latter.
_TEXTS_AND_BOOLEANS = {b"\x02\x80" + _TEXT + bytes((n, STRING)): n for n in range(0x80)}
_TEXTS_AND_BOOLEANS |= {b"\x02\x80\x07\x82boolean" + bytes((n, STRING)): -n for n in (4, 5)}
_BOOLEANS = {b"true": True, b"false": False}
#: Keys of dicts that were read, by the bytes that begin their pairs; see `_KEYS`.
_keys: dict[bytes, str] = {}
#: The beginnings of the two messages that are read here: True for a call, False for an answer.
_BEGINNINGS = {b"\x07\x80\x1a\x87": True, b"\x03\x80\x1b\x87": False}
_SPELLED_BEGINNINGS = ((b"\x07\x80\x07\x82message", True), (b"\x03\x80\x06\x82answer", False))
_ANSWER_REQUIRED = {bytes((n, INT)): n for n in (0, 1)}
_TUPLE_OF_ARGUMENTS, _NO_KEYWORDS = bytes((LIST, 0x0B, VOCAB)), b"\x01\x80\x05\x87"


def decodePlain(message: bytes, vocabulary: bool = True, items: int = MAX_ITEMS) -> _Plain:
    """
    Return what a call or an answer says, if everything in it is plain: the same as `twisted.spread.jelly.unjelly` makes
    of it where every plain type is allowed and none of their names is registered for a class.

    :param message: the bytes of one message, as `Framer.next` returns them.
    :param vocabulary: as for `decode`.
    :param items: how many values the arguments, the keywords or the answer may have when they are walked: a value that
        comes twice counts twice, and each 64 bytes of a string count as one more where it comes again. A few
        kilobytes can hold a list that holds another twice, which holds another twice, and so on: no program could walk
        that to its end.
    :return: ``("message", requestID, objectID, name, answerRequired, args, kw)``, where the name is a str, the ids and
        answerRequired are int or bytes as they were sent, args is a tuple or list and kw a dict; or ``("answer",
        requestID, value)``; or None if it is left to stock's jelly: a value that is not plain, a cycle, something
        wrong, or more than `items`. Never raises because of the message.
    """
    global _ready
    ready = _ready
    if ready is not None and ready[0] is message and vocabulary:
        # Once only: what is returned belongs to the caller.
        _ready = None
        return ready[1]
    try:
        pos, isCall = 4, _BEGINNINGS.get(message[:4]) if vocabulary else None
        if isCall is None:
            for beginning, spelledCall in _SPELLED_BEGINNINGS:
                if message.startswith(beginning):
                    pos, isCall = len(beginning), spelledCall
            if isCall is None:
                return None
        plain, end = _readMessage(message, pos, isCall, _NUMBERED if vocabulary else _SPELLED, MAX_DEPTH, items)
        return plain if end == len(message) else None
    except Exception:
        return None


def _readMessage(
    data: bytes, pos: int, isCall: bool, numbered: _Numbered, depth: int, items: int
) -> tuple[_Plain, int]:
    """
    Read a call or an answer.

    :param pos: where its request id is.
    :return: what `decodePlain` returns, and where the message ends.
    :raises Exception: as `_read`.
    """
    if isCall and numbered:
        usual = _readUsualCall(data, pos, depth, items)
        if usual is not None:
            return usual
    # One more, because the list in which the values are returned is counted.
    most = items + 1
    requestID, pos = _readRaw(data, pos, numbered)
    if not isCall:
        (value,), pos = _read(data, pos, 1, numbered, depth, most)
        return ("answer", requestID, value), pos
    objectID, pos = _readRaw(data, pos, numbered)
    name, pos = _readRaw(data, pos, numbered)
    answerRequired, pos = _readRaw(data, pos, numbered)
    (args,), pos = _read(data, pos, 1, numbered, depth, most)
    (kw,), pos = _read(data, pos, 1, numbered, depth, most)
    if type(name) is not bytes or type(kw) is not dict or (type(args) is not tuple and type(args) is not list):
        raise _NotPlain
    return ("message", requestID, objectID, name.decode(), answerRequired, args, kw), pos


def _readUsualCall(data: bytes, pos: int, depth: int, items: int) -> tuple[_Plain, int] | None:
    """
    Read a call as nearly all of them are: ids of one to three digits, a short name, a tuple of few arguments. Takes
    half the time of the general way.

    :return: as `_readMessage`; None for another call.
    """
    requestID, kind = data[pos], data[pos + 1]
    if requestID >= 0x80:
        return None
    if kind == INT:
        pos += 2
    elif kind < 0x80 and data[pos + 2] == INT:
        requestID |= kind << 7
        pos += 3
    elif kind < 0x80 and data[pos + 3] == INT and data[pos + 2] < 0x80:
        requestID |= kind << 7 | data[pos + 2] << 14
        pos += 4
    else:
        return None
    objectID, n = data[pos], data[pos + 2]
    if data[pos + 1] != INT or data[pos + 3] != STRING or objectID >= 0x80 or n >= 0x80:
        return None
    end = pos + 4 + n
    answerRequired = _ANSWER_REQUIRED.get(data[end : end + 2])
    count = data[end + 2] - 1
    # A text among the arguments is on the third level. Where that is too deep, the general way finds out.
    if answerRequired is None or data[end + 3 : end + 6] != _TUPLE_OF_ARGUMENTS or not 0 <= count < 0x7F or not depth:
        return None
    name = data[pos + 4 : end].decode()
    pos = end + 6
    args: tuple[Any, ...] = ()
    kw: Any = {}
    if count:
        values, pos = _read(data, pos, count, _NUMBERED, depth - 1, items)
        args = tuple(values)
    if data[pos : pos + 4] == _NO_KEYWORDS:
        pos += 4
    else:
        (kw,), pos = _read(data, pos, 1, _NUMBERED, depth, items + 1)
        if type(kw) is not dict:
            return None
    return ("message", requestID, objectID, name, answerRequired, args, kw), pos


def _readRaw(data: bytes, pos: int, numbered: _Numbered) -> tuple[int | bytes, int]:
    """
    Read a header field, which is not in jelly: an int or bytes.
    """
    n, kind, pos = _number(data, pos, MAX_PREFIX)
    if kind == INT or kind == LONGINT:
        return n, pos
    if kind == NEG or kind == LONGNEG:
        return -n, pos
    return _content(data, n, kind, pos, numbered)


def _read(data: bytes, pos: int, left: int, numbered: _Numbered, depth: int, most: int) -> tuple[list[_Value], int]:
    """
    Read plain values that are parts of one jelly. Does not recurse, whatever the depth.

    :param left: how many values there are.
    :param numbered: `_NUMBERED`, or `_SPELLED` where there is no vocabulary.
    :param depth: how many levels there may be.
    :param most: how many values a walk through them may meet, their list included; see `items` of `decodePlain`.
    :return: the values, and where they end: beyond the end of the data, if the last one is not complete.
    :raises Exception: something is not plain, or missing.
    """
    items: list[_Value] = []
    add = items.append
    form = _LIST
    isDict = False
    # The containers that are open: what is read of each, how many items are to come, its form.
    around: list[tuple[list[_Value], int, int]] = []
    # What came with a number, by which it can come again.
    known: dict[int, object] = {}
    # Up to here a key can be looked for without checking where the data ends.
    last = len(data) - 14
    while True:
        if isDict and not left & 1:
            # Keys and values of a dict are read by turns. Here comes a key, so a pair begins; usually the key is text.
            key = None
            if pos < last and data[pos + 2] == 2:
                end = pos + 15 + data[pos + 13]
                key = _keys.get(data[pos:end])
                if (
                    key is None
                    and data.startswith(_PAIR_OF_TEXT, pos)
                    and data[pos + 14] == STRING
                    and data[pos + 13] < 0x80
                ):
                    key = _remembered(data[pos:end])
            if key is not None:
                add(key)
                left -= 1
                pos = end
            elif data[pos] == 2 and data[pos + 1] == LIST:
                pos += 2
            else:
                raise _NotPlain
        n = data[pos]
        if n == 2 and (size := _TEXTS_AND_BOOLEANS.get(data[pos : pos + 13])) is not None:
            pos += 13
            if size >= 0:
                end = pos + size
                add(data[pos:end].decode())
            else:
                end = pos - size
                add(_BOOLEANS[data[pos:end]])
            pos = end
        elif n == FLOAT:
            add(_unpack(data, pos + 1)[0])
            pos += 9
        else:
            if n >= 0x80:
                kind, n = n, 0
                pos += 1
            elif (kind := data[pos + 1]) >= 0x80:
                pos += 2
            elif (third := data[pos + 2]) >= 0x80:
                n |= kind << 7
                kind = third
                pos += 3
            elif (fourth := data[pos + 3]) >= 0x80:
                n |= kind << 7 | third << 14
                kind = fourth
                pos += 4
            else:
                n, kind, pos = _number(data, pos, MAX_PREFIX)
            if kind == INT:
                add(n)
            elif kind == LIST:
                if data[pos + 1] == VOCAB:
                    inner = numbered[data[pos]]
                    pos += 2
                else:
                    word, pos = _bytes(data, pos, numbered)
                    inner = _FORMS[word]
                if form == _REFERENCE and inner > _FROZENSET:
                    # Only a container has a number.
                    raise _NotPlain
                if n > 1 and inner <= _FROZENSET:
                    around.append((items, left, form))
                    if len(around) > depth:
                        raise _NotPlain
                    items = []
                    add = items.append
                    form = inner
                    isDict = form == _DICT
                    # One more than it has, because the container itself is counted below.
                    left = n
                    if isDict:
                        left += n - 1
                    elif n > _MANY:
                        pos = _readInts(data, pos, items, n - 1)
                        left -= len(items)
                elif n == 1 and inner <= _NONE:
                    # None, or an empty container: most calls have no keywords.
                    add(_EMPTY[inner]())
                elif inner == _REFERENCE and n == 3:
                    # Read as a container of two: the number, and what has it.
                    around.append((items, left, form))
                    if len(around) > depth:
                        raise _NotPlain
                    number, pos = _readNumber(data, pos)
                    items = [number]
                    add = items.append
                    form, isDict, left = inner, False, 2
                elif inner == _DEREFERENCE and n == 2:
                    number, pos = _readNumber(data, pos)
                    if _inKey(around, left, form):
                        raise _NotPlain
                    add(known[number])
                elif inner == _UNICODE and n == 2:
                    raw, pos = _bytes(data, pos, numbered)
                    add(raw.decode())
                elif inner == _BOOLEAN and n == 2:
                    raw, pos = _bytes(data, pos, numbered)
                    add(_BOOLEANS[raw])
                else:
                    raise _NotPlain
            elif kind == NEG or kind == LONGNEG:
                add(-n)
            elif kind == LONGINT:
                add(n)
            elif kind == FLOAT:
                # With a number before it, which means nothing.
                add(_unpack(data, pos)[0])
                pos += 8
            else:
                value, pos = _content(data, n, kind, pos, numbered)
                add(value)
        left -= 1
        while not left:
            if not around:
                if known and _tooLarge(items, known, most):
                    raise _NotPlain
                return items, pos
            done = items if form == _LIST else tuple(items) if form == _TUPLE else _made(form, items, known)
            items, left, form = around.pop()
            isDict = form == _DICT
            add = items.append
            add(done)
            left -= 1


def _readNumber(data: bytes, pos: int) -> tuple[int, int]:
    """
    Read the number by which something can come again.
    """
    n, kind, pos = _number(data, pos, MAX_PREFIX)
    if kind != INT:
        raise _NotPlain
    return n, pos


def _bytes(data: bytes, pos: int, numbered: _Numbered) -> tuple[bytes, int]:
    """
    Read a string of Banana's, or the number of a word.
    """
    n, kind, pos = _number(data, pos, MAX_PREFIX)
    return _content(data, n, kind, pos, numbered)


def _content(data: bytes, n: int, kind: int, pos: int, numbered: _Numbered) -> tuple[bytes, int]:
    """
    Read the content of a string or word.
    """
    if kind == STRING:
        return data[pos : pos + n], pos + n
    if kind == VOCAB and numbered:
        return WORDS[n], pos
    raise _NotPlain


def _readInts(data: bytes, pos: int, items: list[_Value], most: int) -> int:
    """
    Read integers of up to four digits as long as they come: in half the time of reading them one by one.

    A run is searched only once: of the lists that begin before it only the innermost comes here.

    :return: where the next item begins.
    """
    run = _INTS_RUN.match(data, pos)
    if run is None:
        return pos
    found = run[0].split(b"\x81", most)
    pos = run.end() - len(found.pop())
    items += [
        p[0]
        if len(p) == 1
        else p[0] | p[1] << 7
        if len(p) == 2
        else p[0] | p[1] << 7 | p[2] << 14
        if len(p) == 3
        else p[0] | p[1] << 7 | p[2] << 14 | p[3] << 21
        for p in found
    ]
    return pos


def _remembered(beginning: bytes) -> str:
    """
    Read the key of a dict, which is text, and remember it.

    :param beginning: the bytes of its pair, up to the end of the key.
    """
    key = beginning[15:].decode()
    if len(beginning) <= 15 + _KEY:
        if len(_keys) >= _KEYS:
            _keys.clear()
        _keys[beginning] = key
    return key


def _inKey(around: list[tuple[list[_Value], int, int]], left: int, form: int) -> bool:
    """
    Return whether the next value is part of a key of a dict, or of a member of a set. Nothing may come again there: the
    hash of a tuple is computed anew each time, from all that is in it. For fifty pairs, each holding the one before
    twice, that takes years.
    """
    return any(
        form in (_SET, _FROZENSET) or (form == _DICT and not left & 1)
        for left, form in ((left, form), *((left, form) for _, left, form in around))
    )


def _made(form: int, items: list[_Value], known: dict[int, object]) -> _Value:
    """
    Make a dict or a set of what was read, or remember what came with a number.
    """
    if form == _DICT:
        if len(items) > 2 * COLLISIONS and crowded(items[::2], False):
            raise _NotPlain
        turns = iter(items)
        # There is a value for each key. Checking that with "strict" would take longer than the rest.
        return dict(zip(turns, turns))  # noqa: B905
    if form == _REFERENCE:
        number, value = items
        if number in known or type(value) not in _CONTAINERS:
            raise _NotPlain
        known[number] = value
        return value
    if crowded(items, True):
        raise _NotPlain
    return set(items) if form == _SET else frozenset(items)


def _tooLarge(values: list[_Value], known: dict[int, object], most: int) -> bool:
    """
    Return whether a walk through some values meets more than `most`. Takes time in proportion to what was sent.

    :param known: what came with a number, and may come again; what is inside another comes before it.
    """
    sizes: dict[int, int] = {}
    # What the strings count where they were read, which `limits.message` limits already.
    own = 0

    def size(value: _Value) -> int:
        nonlocal own
        total, todo = 0, [value]
        while todo:
            each = todo.pop()
            counted = sizes.get(id(each))
            if counted is not None:
                total += counted
                continue
            total += 1
            kind = type(each)
            if kind is dict:
                todo += each
                todo += each.values()
            elif kind in _CONTAINERS:
                todo += each
            elif (kind is str or kind is bytes) and len(each) > 15:
                text = len(each.encode() if kind is str else each) >> 6
                total += text
                own += text
        return total

    for value in known.values():
        sizes[id(value)] = size(value)
    return size(values) > most + own


# Expressions to bytes.


def _encodeNumber(n: int, kind: int) -> bytes:
    """
    Return a number, 0 or more, and its type byte.
    """
    if n < 0x80:
        return bytes((n, kind))
    if n < 0x4000:
        return bytes((n & 0x7F, n >> 7, kind))
    if 0x1000_0000 <= n < 0x8_0000_0000:
        # Frequent: seconds since 1970.
        return bytes((n & 0x7F, n >> 7 & 0x7F, n >> 14 & 0x7F, n >> 21 & 0x7F, n >> 28, kind))
    out = bytearray()
    while n:
        out.append(n & 0x7F)
        n >>= 7
    out.append(kind)
    return bytes(out)


def _encodeInt(n: int) -> bytes:
    if n >= 0:
        return _encodeNumber(n, INT if n < 0x8000_0000 else LONGINT)
    return _encodeNumber(-n, NEG if n >= -0x8000_0000 else LONGNEG)


_Words = dict[bytes, bytes]
_WORD_NUMBERS: _Words = {word: _encodeNumber(number, VOCAB) for word, number in Banana.outgoingVocabulary.items()}
_NO_WORDS: _Words = {}


#: What stock's errors about length do not say.
_ADVICE = ": the limit is {} {} (twisted.spread.banana.SIZE_LIMIT); send it in parts, for example as several calls"


def encode(expression: object, vocabulary: bool, string: int, digits: int = 64) -> bytes:
    """
    Return what stock's Banana writes for an expression, to the byte.

    :param vocabulary: True in dialect ``pb``, where numbers stand for the words of the vocabulary.
    :param string: the most bytes of a string and elements of a list, stock's `banana.SIZE_LIMIT`.
    :param digits: the most digits of a number, base 128: stock's `banana.setPrefixLimit`.
    :raises BananaError: something is too large, or Banana has no form for it. The text begins as stock's does.
    :raises RecursionError: it is too deep for stock as well, or endless.
    """
    words = _WORD_NUMBERS if vocabulary else _NO_WORDS
    largest = 2 ** (digits * 7) - 1
    out: list[bytes] = []
    add = out.append

    def put(value: object) -> None:
        if isinstance(value, list | tuple):
            if len(value) > string:
                raise BananaError(f"list/tuple is too long to send ({len(value)}){_ADVICE.format(string, 'elements')}")
            add(_encodeNumber(len(value), LIST))
            for each in value:
                put(each)
        elif isinstance(value, int):
            if not -largest <= value <= largest:
                raise BananaError(f"int is too large to send ({value:d})")
            add(_encodeInt(value))
        elif isinstance(value, float):
            add(b"\x84" + _pack(value))
        elif isinstance(value, bytes):
            if value in words:
                add(words[value])
            else:
                if len(value) > string:
                    raise BananaError(
                        f"byte string is too long to send ({len(value)}){_ADVICE.format(string, 'bytes')}"
                    )
                add(_encodeNumber(len(value), STRING))
                add(value)
        else:
            raise BananaError(f"Banana cannot send {fullyQualifiedName(type(value))} objects: {value!r}")

    put(expression)
    return b"".join(out)


# Plain values to bytes.


class _Repeated(Exception):
    """A container comes a second time, which has to be written where it comes first."""


class _Dialect:
    """
    The bytes of what is frequent, with numbers for the words of the vocabulary or without.

    :ivar words: the bytes for each word that has a number.
    :ivar keys: the bytes that begin a pair, by its key; see `_KEYS`.
    """

    def __init__(self, words: _Words) -> None:
        self.words = words
        self.keys: dict[str, bytes] = {}
        self.none = b"\x01\x80" + self.word(b"None")
        self.true = b"\x02\x80" + self.word(b"boolean") + self.word(b"true")
        self.false = b"\x02\x80" + self.word(b"boolean") + self.word(b"false")
        self.heads: dict[type, bytes] = {
            list: self.word(b"list"),
            tuple: self.word(b"tuple"),
            dict: self.word(b"dictionary"),
            set: self.word(b"set"),
            frozenset: self.word(b"frozenset"),
        }
        # The same with their lengths, where these are short.
        self.short = {kind: [bytes((n + 1, LIST)) + head for n in range(127)] for kind, head in self.heads.items()}
        self.call = {prefix: b"\x07\x80" + self.word(prefix + b"message") for prefix in (b"", b"cache")}
        self.answer = b"\x03\x80" + self.word(b"answer")
        self.reference = b"\x03\x80" + self.word(b"reference")
        self.dereference = b"\x02\x80" + self.word(b"dereference")

    def word(self, word: bytes) -> bytes:
        """
        Return a string of at most 127 bytes as it is written.
        """
        return self.words.get(word) or bytes((len(word), STRING)) + word


_DIALECTS = (_Dialect(_NO_WORDS), _Dialect(_WORD_NUMBERS))
_LONGEST_WORD = max(map(len, _WORD_NUMBERS))
#: Each digit: as the first of an int, and as the last with the type byte.
_FIRST = [bytes((n,)) for n in range(0x80)]
_LAST = [bytes((n, INT)) for n in range(0x80)]
#: The beginnings of texts and of strings of less than 128 bytes.
_TEXTS = [b"\x02\x80" + _TEXT + bytes((n, STRING)) for n in range(0x80)]
_STRINGS = [bytes((n, STRING)) for n in range(0x80)]
#: The ids of the containers that were written; or `_counted`.
_Seen = set[int] | dict[int, int]
_NO_KEYS: dict[str, bytes] = {}


def _write(
    values: Iterable[_Value],
    keys: Iterator[_Value] | None,
    add: Callable[[bytes], object],
    dialect: _Dialect,
    seen: _Seen,
    string: int,
    bits: int,
    depth: int = MAX_DEPTH,
) -> None:
    """
    Write plain values, each as jelly has it.

    :param keys: the keys, if the values are those of a dict.
    :param add: receives pieces.
    :param seen: the containers of this jelly so far.
    :param bits: of the largest int.
    :param depth: how many levels there may be.
    :raises _Repeated: a container comes a second time, and they have not been counted.
    :raises Exception: something is not plain, or too large.
    """
    words = dialect.words
    # Of up to three digits.
    small = 0x20_0000 if bits >= 21 else 1 << bits
    # Without the remembered keys, if one of them could exceed the limit on strings.
    known = _NO_KEYS if keys is None or string < 4 * _KEY else dialect.keys
    for value in values:
        if keys is not None:
            key = next(keys)
            written = known.get(key) if type(key) is str else None
            add(_writeKey(key, dialect, seen, string, bits, depth) if written is None else written)
        kind = type(value)
        if kind is str:
            raw = value.encode()
            n = len(raw)
            if n <= _LONGEST_WORD and raw in words:
                add(b"\x02\x80" + _TEXT + words[raw])
            elif n > string:
                raise _NotPlain
            else:
                add(_TEXTS[n] if n < 0x80 else b"\x02\x80" + _TEXT + _encodeNumber(n, STRING))
                add(raw)
        elif kind is int:
            if 0 <= value < 0x80:
                add(_LAST[value])
            elif 0 < value < small:
                if value < 0x4000:
                    add(_FIRST[value & 0x7F] + _LAST[value >> 7])
                else:
                    add(_FIRST[value & 0x7F] + _FIRST[value >> 7 & 0x7F] + _LAST[value >> 14])
            elif value.bit_length() > bits:
                raise _NotPlain
            else:
                add(_encodeInt(value))
        elif kind is float:
            add(b"\x84" + _pack(value))
        elif kind is bytes:
            n = len(value)
            if n <= _LONGEST_WORD and value in words:
                add(words[value])
            elif n > string:
                raise _NotPlain
            else:
                add(_STRINGS[n] if n < 0x80 else _encodeNumber(n, STRING))
                add(value)
        elif value is None:
            add(dialect.none)
        elif kind is bool:
            add(dialect.true if value else dialect.false)
        else:
            short = dialect.short[kind]
            n = len(value)
            mark = id(value)
            if n >= string or not depth:
                raise _NotPlain
            if mark not in seen:
                seen.add(mark)  # type: ignore[union-attr]
            elif _writeNumber(seen, mark, add, dialect):
                continue
            add(short[n] if n < 127 else _encodeNumber(n + 1, LIST) + dialect.heads[kind])
            if kind is dict:
                _write(value.values(), iter(value), add, dialect, seen, string, bits, depth - 1)
            else:
                _write(value, None, add, dialect, seen, string, bits, depth - 1)


def _writeKey(key: _Value, dialect: _Dialect, seen: _Seen, string: int, bits: int, depth: int) -> bytes:
    """
    Return what begins a pair of a dict, with the key in it, and remember it.
    """
    parts: list[bytes] = [b"\x02\x80"]
    _write((key,), None, parts.append, dialect, seen, string, bits, depth)
    written = b"".join(parts)
    if type(key) is str and len(key) <= _KEY and string >= 4 * _KEY:
        if len(dialect.keys) >= _KEYS:
            dialect.keys.clear()
        dialect.keys[key] = written
    return written


def _writeNumber(seen: _Seen, mark: int, add: Callable[[bytes], object], dialect: _Dialect) -> bool:
    """
    Write the number of a container that comes more than once: before it the first time, in its place later.

    :return: True if that is all.
    """
    if isinstance(seen, set):
        raise _Repeated
    number = seen[mark]
    if number < 0:
        add(dialect.dereference + _encodeInt(-number))
    elif number:
        add(dialect.reference + _encodeInt(number))
        seen[mark] = -number
    return number < 0


def _counted(value: _Value) -> dict[int, int]:
    """
    Return the ids of all containers in a value, and of itself. Those that come more than once have a number above 0, in
    the order in which they come again, as in jelly.
    """
    found: dict[int, int] = {}
    number = 0
    around = [iter((value,))]
    while around:
        for each in around[-1]:
            kind = type(each)
            if kind not in _CONTAINERS:
                continue
            mark = id(each)
            if mark not in found:
                found[mark] = 0
                around.append(chain.from_iterable(each.items()) if kind is dict else iter(each))
                break
            if not found[mark]:
                found[mark] = number = number + 1
        else:
            around.pop()
    return found


def _writeRaw(value: _Value, dialect: _Dialect, string: int, bits: int) -> bytes:
    """
    Return a header field as it is written: an int, a bool, which Banana writes as an int, or bytes.
    """
    kind = type(value)
    if kind is int or kind is bool:
        number: int = value
        if 0 <= number < 0x80:
            return _LAST[number]
        if 0 < number < 0x4000 and bits >= 14:
            return _FIRST[number & 0x7F] + _LAST[number >> 7]
        if number.bit_length() > bits:
            raise _NotPlain
        return _encodeInt(number)
    if kind is not bytes:
        raise _NotPlain
    word: bytes | None = dialect.words.get(value)
    if word is None and len(value) > string:
        raise _NotPlain
    return word or _encodeNumber(len(value), STRING) + value


def _joined(
    begin: bytes, values: tuple[object, ...], dialect: _Dialect, string: int, bits: int, end: bytes = b""
) -> bytes | None:
    """
    Write some values, each a jelly of its own.

    :param begin: what comes before them.
    :param end: what comes after them.
    :return: None if something is not plain, or too large or too deep.
    """
    parts = [begin]
    try:
        try:
            for value in values:
                _write((value,), None, parts.append, dialect, set(), string, bits)
        except _Repeated:
            # Rare, so this is not looked for beforehand: count what comes more than once, and begin again.
            parts = [begin]
            for value in values:
                _write((value,), None, parts.append, dialect, _counted(value), string, bits)
        parts.append(end)
        return b"".join(parts)
    except Exception:
        return None


def encodeCall(
    prefix: bytes,
    requestID: object,
    objectID: object,
    name: str | bytes,
    answerRequired: object,
    args: tuple[object, ...],
    kw: dict[str, object],
    vocabulary: bool,
    string: int,
    digits: int = 64,
) -> bytes | None:
    """
    Return a whole call, as stock's jelly and Banana write it, to the byte.

    :param prefix: ``b""``, or ``b"cache"`` for a change of a Cacheable.
    :param vocabulary: as for `encode`, like `string` and `digits`.
    :return: None if something is not plain, or too large or too deep: stock's jelly and `encode` then decide.
    """
    tail = encodeTail(name, answerRequired, args, kw, vocabulary, string, digits)
    return None if tail is None else splice(prefix, requestID, objectID, tail, vocabulary, string, digits)


def encodeTail(
    name: str | bytes,
    answerRequired: object,
    args: tuple[object, ...],
    kw: dict[str, object],
    vocabulary: bool,
    string: int,
    digits: int = 64,
) -> bytes | None:
    """
    Return the part of a call that is the same for many peers: everything but the ids, which `splice` adds.

    :return: None as for `encodeCall`.
    """
    dialect, bits = _DIALECTS[bool(vocabulary)], digits * 7
    try:
        raw = name.encode() if type(name) is str else name
        if type(raw) is not bytes or type(args) is not tuple or type(kw) is not dict:
            return None
        begin = _writeRaw(raw, dialect, string, bits) + _writeRaw(answerRequired, dialect, string, bits)
    except (_NotPlain, UnicodeError):
        return None
    if kw:
        return _joined(begin, (args, kw), dialect, string, bits)
    return _joined(begin, (args,), dialect, string, bits, dialect.short[dict][0])


def splice(
    prefix: bytes, requestID: object, objectID: object, tail: bytes, vocabulary: bool, string: int, digits: int = 64
) -> bytes | None:
    """
    Return a call, made of a tail from `encodeTail` in the same dialect, with the ids that differ between connections.

    :return: None if an id is neither an int nor bytes, or is too large.
    """
    dialect = _DIALECTS[bool(vocabulary)]
    try:
        ids = _writeRaw(requestID, dialect, string, digits * 7) + _writeRaw(objectID, dialect, string, digits * 7)
        return dialect.call[prefix] + ids + tail
    except (_NotPlain, KeyError):
        return None


def encodeAnswer(requestID: object, value: object, vocabulary: bool, string: int, digits: int = 64) -> bytes | None:
    """
    Return a whole answer, as stock's jelly and Banana write it, to the byte.

    :return: None as for `encodeCall`.
    """
    dialect, bits = _DIALECTS[bool(vocabulary)], digits * 7
    try:
        begin = dialect.answer + _writeRaw(requestID, dialect, string, bits)
    except _NotPlain:
        return None
    return _joined(begin, (value,), dialect, string, bits)


def encodePlain(value: object, vocabulary: bool, string: int, digits: int = 64) -> bytes | None:
    """
    Return one value alone, as stock's jelly and Banana write it.

    :return: None as for `encodeCall`.
    """
    return _joined(b"", (value,), _DIALECTS[bool(vocabulary)], string, digits * 7)

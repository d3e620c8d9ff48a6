"""
The codec in Python. `pbkit.wire.codec` takes the compiled one where that is there; both do the same.

Nothing here is cut into small functions where that would cost time: a call takes as long as reading an item. What is
doubted is left to stock's `twisted.spread.jelly`, which knows best what is to come of it: a reader or writer of plain
values says None then. Plain are None, bool, int, float, str, bytes, list, tuple, dict, set and frozenset, by exact
type.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from twisted.python.reflect import fullyQualifiedName
from twisted.spread.banana import Banana, BananaError

from pbkit.errors import Malformed, TooLarge
from pbkit.wire.codec.hashflood import COLLISIONS, crowded

LIST, INT, STRING, NEG, FLOAT, LONGINT, LONGNEG, VOCAB = range(0x80, 0x88)

#: How deep plain values are read and written. Stock's unjelly, at three frames a level, ends at 324; what is deeper
#: than this is left to it.
DEEPEST = 128

#: The most bytes of a number that is read as a plain value. Stock's bound; who sets another has more read by stock.
PREFIX = 64

_S = bytes((STRING,))
#: What every text begins with in jelly, after the byte that says that it is a list of two.
_TEXT = b"\x07\x82unicode"
_double = struct.Struct("!d")
_pack, _unpack = _double.pack, _double.unpack_from
_LOW = bytes(range(0x80))
# Up to 64 items without an end of their own to be looked for: numbers but floats, and words of the vocabulary. Nothing
# is given back once matched ("+"), so that what comes after cannot make it try again.
_RUN = re.compile(rb"(?:[\x00-\x7f]{0,9}+[\x81\x83\x85-\x87]){1,64}+")
_INTS = re.compile(rb"(?:[\x00-\x7f]{1,4}\x81)++")
#: How many keys of dicts are remembered each way, and of how many characters each.
_KEYS, _KEY = 1024, 40
#: From how many items on a list is looked at for ints all at once.
_MANY = 12

# Many ints at once, in a third of the time that they take one by one. They lie side by side in one int of Python's, 32
# bits for each, and so one operation is done to all of them. On the wire they are groups of seven bits, the lowest
# first; what fits here has four groups at most.

#: How many lie in one; fewer than the others are not worth it.
_BLOCK, _FEW = 256, 40
_ONES = int.from_bytes(b"\x01\x00\x00\x00" * _BLOCK, "little")
_GROUPS = [(0x7F << 7 * group) * _ONES for group in range(4)]
_GROUPS_APART = [(0x7F << 8 * group) * _ONES for group in range(4)]
_TOO_LARGE = 0xF000_0000 * _ONES
#: What carries to the bit at 2**28 if a number has more than one group, two, three.
_CARRIES = [(0x1000_0000 - (1 << 7 * group)) * _ONES for group in (1, 2, 3)]
_CARRIED = 0x1000_0000 * _ONES
_block = struct.Struct(f"<{_BLOCK}I")
_block_of_bytes = struct.Struct("4s" * _BLOCK)
_GAP = b"\x80"


def _fromGroups(groups: list[bytes]) -> tuple[int, ...]:
    """
    :param groups: of each int its bytes, without the type; a block of them at most.
    """
    missing = _BLOCK - len(groups)
    # What is shorter than four bytes is filled with zeros.
    apart = int.from_bytes(_block_of_bytes.pack(*groups, *[b""] * missing), "little")
    a, b, c, d = _GROUPS_APART
    together = apart & a | (apart & b) >> 1 | (apart & c) >> 2 | (apart & d) >> 3
    ints = _block.unpack(together.to_bytes(4 * _BLOCK, "little"))
    return ints[:-missing] if missing else ints


def _toGroups(ints: Sequence[int]) -> bytes:
    """
    :param ints: a block of them at most, by exact type.
    :return: them, written.
    :raises Exception: if one is negative or too large.
    """
    missing = _BLOCK - len(ints)
    together = int.from_bytes(_block.pack(*ints, *(0,) * missing), "little")
    if together & _TOO_LARGE:
        raise _Doubt
    a, b, c, d = _GROUPS
    apart = together & a | (together & b) << 1 | (together & c) << 2 | (together & d) << 3
    # A group that is not written has the top bit set, which no other has. Then it can be taken out.
    one, two, three = _CARRIES
    apart |= (~(together + one) & _CARRIED) >> 13
    apart |= (~(together + two) & _CARRIED) >> 5
    apart |= (~(together + three) & _CARRIED) << 3
    groups = apart.to_bytes(4 * _BLOCK, "little")
    written = bytearray(b"\x81") * (5 * _BLOCK)
    for group in range(4):
        written[group::5] = groups[group::4]
    data = bytes(written.translate(None, _GAP))
    # Each zero that was added is two bytes.
    return data[: len(data) - 2 * missing]


#: What `Framer` has read just now: a message, and what is in it.
_ready: tuple[bytes, tuple[Any, ...] | None] | None = None


class Framer:
    """
    Finds where messages end, and holds what has come until then. No byte is looked at more than a few times.

    What is announced counts as if it had come, so that a string or a list that is too long is refused before its
    content is there. After an error nothing is taken any more.

    :param message: the bytes of a message, all in all.
    :param items: lists, numbers and strings in a message; also the elements of one list.
    :param depth: of lists in lists; a list of numbers has 1.
    :param string: the bytes of a string.
    :param prefix: the bytes of a number, base 128. 64: stock's `banana.setPrefixLimit`.
    """

    __slots__ = (
        "_bounds",
        "_buffer",
        "_dead",
        "_deepest",
        "_ends",
        "_later",
        "_pending",
        "_pos",
        "_quick",
        "_start",
        "_total",
    )

    def __init__(self, message: int, items: int, depth: int, string: int, prefix: int = 64) -> None:
        self.limit(message, items, depth, string, prefix)
        self._bounds = self._later
        self._buffer: bytes | bytearray = b""
        # Where the message begins, and what is read of it: the next item is at _pos, which may lie behind the end of
        # the buffer; so many items are still to come; so many were announced, or none before it is begun.
        self._start = self._pos = self._pending = self._total = 0
        # For each list around: how many items will be to come when it has ended.
        self._ends: list[int] = []
        self._dead: tuple[type[ValueError], tuple[Any, ...]] | None = None

    @property
    def held(self) -> int:
        """How many bytes are held: the message that is not whole yet, and what nobody asked for yet."""
        return len(self._buffer) - self._start

    def limit(self, message: int, items: int, depth: int, string: int, prefix: int = 64) -> None:
        """
        Other bounds, from the next message on: one of which a byte was looked at keeps those it began with.
        """
        for bound in (message, items, depth, string, prefix):
            if bound < 1:
                raise ValueError(f"a bound is 1 or more, not {bound!r}")
        self._later = (message, items, depth, string, prefix)
        # Whatever is in so few bytes is within these bounds: an item has one byte at least.
        self._quick = min(message, items, string) if depth >= 2 and prefix >= PREFIX else 0
        # A dict has two lists for each level; the message is one, and a text.
        self._deepest = min(DEEPEST, depth // 2 - 1)

    def feed(self, chunk: bytes) -> None:
        """
        Take bytes in; `next` looks at them.
        """
        if self._dead is not None:
            return
        buffer, start = self._buffer, self._start
        if start == len(buffer):
            # The usual case, and the next message is then cut out of the chunk itself.
            self._buffer = chunk if type(chunk) is bytes else bytes(memoryview(chunk))
            self._pos -= start
            self._start = 0
            return
        if not isinstance(buffer, bytearray):
            buffer = self._buffer = bytearray(memoryview(buffer)[start:])
            self._pos -= start
            self._start = 0
        elif start:
            # Costs nothing: a bytearray moves its beginning.
            del buffer[:start]
            self._pos -= start
            self._start = 0
        buffer += chunk

    def next(self) -> bytes | None:
        """
        The next message.

        :return: exactly its bytes; None as long as it is not whole.
        :raises TooLarge: if it is over a bound, or will be.
        :raises Malformed: if there is a type byte that Banana has not.
        """
        if self._dead is not None:
            cls, args = self._dead
            raise cls(*args)
        buffer, start = self._buffer, self._start
        size = len(buffer)
        if not self._total:
            if start == size:
                return None
            if size - start <= self._quick and type(buffer) is bytes:
                message = self._whole(buffer, start)
                if message is not None:
                    return message
            self._bounds, self._pending, self._total = self._later, 1, 1
            self._ends.clear()
        try:
            if self._pending:
                self._scan(buffer)
            end = self._pos
            if end - start > self._bounds[0]:
                raise TooLarge("message", self._bounds[0])
        except ValueError as error:
            self._dead = (type(error), error.args)
            self._buffer = b""
            self._start = self._pos = 0
            raise
        if self._pending or end > size:
            return None
        return self._taken(end)

    def _taken(self, end: int) -> bytes:
        """
        Give out what is held before a place.
        """
        buffer, start = self._buffer, self._start
        self._total = 0
        if end == len(buffer):
            self._buffer = b""
            self._start = self._pos = 0
        elif type(buffer) is bytes:
            self._start = self._pos = end
        else:
            # What is behind it has just come, and is cut like any other chunk: that takes half the time.
            self._buffer = bytes(memoryview(buffer)[end:])
            self._start = self._pos = 0
        return buffer[start:end] if type(buffer) is bytes else bytes(memoryview(buffer)[start:end])

    def _whole(self, buffer: bytes, start: int) -> bytes | None:
        """
        Most messages are plain, and whole when they are first looked at. Then one look finds the end and the values,
        which are kept for `decodePlain`. It is tried once for a message, so that however its bytes come, each is looked
        at here once; those of a head, twice.

        :return: None if it is not so.
        """
        global _ready
        wanted = _MESSAGES.get(buffer[start : start + 4])
        if wanted is None:
            return None
        try:
            read = _usualCall(buffer, start + 4, self._deepest) if wanted == 6 else None
            if read is None:
                values, end = _read(buffer, start + 4, wanted, _NUMBERED, self._deepest)
                said = _said(values)
            else:
                said, end = read
        except Exception:
            return None
        size = len(buffer)
        if end > size:
            return None
        if start or end < size:
            message = self._taken(end)
        else:
            message, self._buffer = buffer, b""
        _ready = (message, said)
        return message

    def _scan(self, buffer: bytes | bytearray) -> None:
        """
        Read on, to the end of the message or to where bytes are missing.
        """
        most, items, depth, string, prefix = self._bounds
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
                        n, kind, pos = _long(buffer, at, prefix)
                if kind == STRING:
                    if n > string:
                        raise TooLarge("string", string)
                    pos += n
                    pending -= 1
                    if pos - start + pending > most:
                        raise TooLarge("message", most)
                elif kind == LIST:
                    total += n
                    if n > items or total > items:
                        raise TooLarge("list" if n > items else "items", items)
                    # The lists that have ended since are taken off only now; most items are no lists.
                    while ends and ends[-1] >= pending:
                        ends.pop()
                    if len(ends) >= depth:
                        raise TooLarge("depth", depth)
                    pending -= 1
                    if n == 2 and string > 0x7F and buffer.startswith(_TEXT, pos) and buffer[pos + 10 : pos + 11] == _S:
                        n = buffer[pos + 9]
                        if n < 0x80:
                            # A text of usual length, as jelly has it, in one step.
                            pos += 11 + n
                            if pos - start + pending > most:
                                raise TooLarge("message", most)
                            continue
                        n = 2
                    ends.append(pending)
                    pending += n
                    if pos - start + pending > most:
                        raise TooLarge("message", most)
                elif kind == FLOAT:
                    pos += 8
                    pending -= 1
                elif kind < 0x88:
                    pending -= 1
                    if pending >= 64 and prefix >= 9:
                        run = _RUN.match(buffer, pos)
                        if run is not None:
                            pos = run.end()
                            pending -= len(run[0].translate(None, _LOW))
                else:
                    raise Malformed(f"no type of Banana's: {kind:#04x}")
            at = pos
        except IndexError:
            if len(buffer) - at > prefix:
                raise TooLarge("prefix", prefix) from None
        self._pos, self._pending, self._total = at, pending, total


def _long(buffer: bytes | bytearray, pos: int, prefix: int) -> tuple[int, int, int]:
    """
    Read a prefix of two bytes or more.

    :return: the number, the type byte, and where what follows begins.
    """
    n = shift = 0
    last = pos + prefix
    while (byte := buffer[pos]) < 0x80:
        if pos == last:
            raise TooLarge("prefix", prefix)
        n |= byte << shift
        shift += 7
        pos += 1
    return n, byte, pos + 1


# From bytes to jelly.

_WORDS: dict[int, bytes] = dict(Banana.incomingVocabulary)


def decode(message: bytes, vocabulary: bool = True) -> Any:
    """
    What stock's Banana makes of a message. However deep it is, nothing is called within itself.

    :param message: the bytes of one, as `Framer.next` gives them.
    :param vocabulary: whether words may come as their numbers: so it is in dialect ``pb``, and only there.
    :raises Malformed: if it is not one whole message, or has a word that there is not.
    """
    items: list[Any] = []
    left = 1
    pos, size = 0, len(message)
    around: list[tuple[list[Any], int]] = []
    try:
        while True:
            kind = message[pos]
            pos += 1
            n = 0
            if kind < 0x80:
                n = kind
                kind = message[pos]
                pos += 1
                if kind < 0x80:
                    n, kind, pos = _long(message, pos - 2, size)
            if kind == INT or kind == LONGINT:
                items.append(n)
            elif kind == STRING:
                end = pos + n
                items.append(message[pos:end])
                pos = end
            elif kind == LIST:
                inner: list[Any] = []
                items.append(inner)
                around.append((items, left))
                # This one more is the list itself, which is counted below.
                items, left = inner, n + 1
            elif kind == VOCAB:
                if not vocabulary or n not in _WORDS:
                    raise Malformed(
                        f"no word of the vocabulary: {n}" if vocabulary else "a vocabulary is not agreed on"
                    )
                items.append(_WORDS[n])
            elif kind == NEG or kind == LONGNEG:
                items.append(-n)
            elif kind == FLOAT:
                items.append(_unpack(message, pos)[0])
                pos += 8
            else:
                raise Malformed(f"no type of Banana's: {kind:#04x}")
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


# From bytes to values.


class _Doubt(Exception):
    """Stock's jelly is to say what becomes of it."""


#: What plain things that are not written as they are begin with, spelled out. Up to `_AFROZENSET` they hold others.
_ALIST, _ATUPLE, _ADICT, _ASET, _AFROZENSET, _NONE, _UNICODE, _BOOLEAN, _REFERENCE, _DEREFERENCE = range(10)
_SPELLED = {
    b"list": _ALIST,
    b"tuple": _ATUPLE,
    b"dictionary": _ADICT,
    b"set": _ASET,
    b"frozenset": _AFROZENSET,
    b"None": _NONE,
    b"unicode": _UNICODE,
    b"boolean": _BOOLEAN,
    b"reference": _REFERENCE,
    b"dereference": _DEREFERENCE,
}
#: These without anything in them.
_EMPTY: list[Any] = [list, tuple, dict, set, frozenset, type(None)]
_Forms = dict[int, int]
#: What came with a number, by that and the number of the jelly that it is in.
_Known = dict[tuple[int, int], Any]
#: The same by the numbers of these words, where they have one; and where there are no numbers.
_NUMBERED: _Forms = {number: _SPELLED[word] for number, word in _WORDS.items() if word in _SPELLED}
_NOT_NUMBERED: _Forms = {}
_PAIR_OF_TEXT = b"\x02\x80\x02\x80" + _TEXT
#: What stands before a text of usual length, or before true and false, with its length; less than 0 for the latter.
_TEXTS_AND_BOOLEANS = {b"\x02\x80" + _TEXT + bytes((n, STRING)): n for n in range(0x80)}
_TEXTS_AND_BOOLEANS |= {b"\x02\x80\x07\x82boolean" + bytes((n, STRING)): -n for n in (4, 5)}
_BOOLEANS = {b"true": True, b"false": False}
#: Keys of dicts that were read, by the bytes that begin their pairs: few and short, see `_KEYS`.
_keys: dict[bytes, str] = {}
#: How the two begin that are read here, and how many values follow.
_MESSAGES = {b"\x07\x80\x1a\x87": 6, b"\x03\x80\x1b\x87": 2}
_SPELLED_MESSAGES = ((b"\x07\x80\x07\x82message", 6), (b"\x03\x80\x06\x82answer", 2))
_RAW = frozenset((int, bytes))
_ANSWERS = {bytes((n, INT)): n for n in (0, 1)}
_ARGS, _NO_KEYWORDS = bytes((LIST, 0x0B, VOCAB)), b"\x01\x80\x05\x87"


def decodePlain(message: bytes, vocabulary: bool = True) -> tuple[Any, ...] | None:
    """
    What the two messages that matter for speed say, if all in them is plain.

    It holds what `twisted.spread.jelly.unjelly` makes of it where every plain type is allowed and none of their names
    was given to a class of somebody's. Never raises because of the message.

    :param message: the bytes of one, as `Framer.next` gives them.
    :param vocabulary: as for `decode`.
    :return: ``("message", requestID, objectID, name, answerRequired, args, kw)``, where the name is a str, ids and
        answerRequired are int or bytes as they came, args a tuple or list and kw a dict; ``("answer", requestID,
        value)``; or None, and stock is to be asked: an object of another type, a cycle, or something wrong.
    """
    global _ready
    ready = _ready
    if ready is not None and ready[0] is message and vocabulary:
        # Once: what is given out is the caller's.
        _ready = None
        return ready[1]
    try:
        pos, wanted = 4, _MESSAGES.get(message[:4]) if vocabulary else None
        if wanted is None:
            for head, count in _SPELLED_MESSAGES:
                if message.startswith(head):
                    pos, wanted = len(head), count
            if wanted is None:
                return None
        values, end = _read(message, pos, wanted, _NUMBERED if vocabulary else _NOT_NUMBERED, DEEPEST)
        return _said(values) if end == len(message) else None
    except Exception:
        return None


def _said(values: list[Any]) -> tuple[Any, ...] | None:
    """
    What is in a message, as `decodePlain` returns it.
    """
    if len(values) == 2:
        return ("answer", *values) if type(values[0]) in _RAW else None
    requestID, objectID, name, answer, args, kw = values
    # What is not raw has another type: in jelly a str is a list, and no list becomes an int or bytes.
    if type(requestID) not in _RAW or type(objectID) not in _RAW or type(answer) not in _RAW:
        return None
    if type(name) is not bytes or type(kw) is not dict or (type(args) is not tuple and type(args) is not list):
        return None
    return ("message", requestID, objectID, name.decode(), answer, args, kw)


def _usualCall(data: bytes, pos: int, deepest: int) -> tuple[tuple[Any, ...] | None, int] | None:
    """
    Read a call as nearly all of them are: its ids are small numbers, its name is short, its arguments are a tuple. It
    takes half the time that it takes as six values.

    :param pos: where the first of these is.
    :return: what `decodePlain` returns, and where the call ends; None if it is another.
    :raises Exception: as `_read`.
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
    answer = _ANSWERS.get(data[end : end + 2])
    count = data[end + 2] - 1
    # A text among the arguments is on the third level; what allows less is looked at closely.
    if answer is None or data[end + 3 : end + 6] != _ARGS or not 0 <= count < 0x7F or not deepest:
        return None
    name = data[pos + 4 : end].decode()
    pos = end + 6
    args: tuple[Any, ...] = ()
    kw: Any = {}
    if count:
        values, pos = _read(data, pos, count, _NUMBERED, deepest - 1, 1)
        args = tuple(values)
    if data[pos : pos + 4] == _NO_KEYWORDS:
        pos += 4
    else:
        (kw,), pos = _read(data, pos, 1, _NUMBERED, deepest)
        if type(kw) is not dict:
            return None
    return ("message", requestID, objectID, name, answer, args, kw), pos


def _read(
    data: bytes,
    pos: int,
    left: int,
    forms: _Forms,
    deepest: int,
    scope: int | None = None,
    known: _Known | None = None,
    within: bool = False,
) -> tuple[list[Any], int]:
    """
    Read plain values. Nearly all the time of reading is spent here, so it is one function, however long, and what is
    frequent comes first. However deep they are, nothing is called within itself.

    :param left: how many there are.
    :param forms: `_NUMBERED`, or `_NOT_NUMBERED` where words may not come as their numbers.
    :param deepest: how many levels there may be.
    :param scope: if they are one jelly, its number; None if each of them is.
    :param known: what came in it before with a number.
    :param within: whether they are in a key.
    :return: them, and where they end: behind the end of what there is, if something is missing at the end of the last.
    :raises Exception: if something is not plain, or missing.
    """
    items: list[Any] = []
    add = items.append
    form = _ALIST
    keyed = False
    around: list[tuple[list[Any], Any, int, int]] = []
    # So far a key can be looked for without a look at where the data ends.
    last = len(data) - 14
    while True:
        if keyed and not left & 1:
            # A dict is read as keys and values by turns. Here comes a key, hence the pair that it is in; mostly text.
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
                raise _Doubt
        n = data[pos]
        if n == 2 and (size := _TEXTS_AND_BOOLEANS.get(data[pos : pos + 13])) is not None:
            pos += 13
            if size >= 0:
                end = pos + size
                add(data[pos:end].decode())
                pos = end
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
                n, kind, pos = _long(data, pos, PREFIX)
            if kind == INT:
                add(n)
            elif kind == LIST:
                if data[pos + 1] == VOCAB:
                    inner = forms[data[pos]]
                    pos += 2
                else:
                    inner, pos = _head(data, pos, forms)
                if n > 1 and inner <= _AFROZENSET:
                    around.append((items, add, left, form))
                    if len(around) > deepest:
                        raise _Doubt
                    items = []
                    add = items.append
                    form = inner
                    keyed = form == _ADICT
                    # One more than there are: it is taken off below.
                    left = n
                    if keyed:
                        left += n - 1
                    elif n > _MANY:
                        pos = _ints(data, pos, items, n - 1)
                        left -= len(items)
                elif n == 1:
                    # None; or without arguments, as most calls are, without keywords, without a result.
                    add(None if inner == _NONE else _EMPTY[inner]())
                elif inner >= _REFERENCE:
                    # One more time what is there already, or what will be.
                    if known is None:
                        known = {}
                    if scope is None:
                        jelly = around[0][2] if around else left
                    else:
                        jelly = scope
                    inKey = within or _inKey(around, left, form)
                    number, pos = _number(data, pos)
                    if inner == _DEREFERENCE and n == 2 and not inKey:
                        add(known[jelly, number])
                    elif inner == _REFERENCE and n == 3 and _holds(data, pos, forms):
                        (value,), pos = _read(data, pos, 1, forms, deepest - len(around), jelly, known, inKey)
                        if (jelly, number) in known:
                            raise _Doubt
                        known[jelly, number] = value
                        add(value)
                    else:
                        raise _Doubt
                else:
                    value, pos = _short(inner, n, data, pos, forms)
                    add(value)
            elif kind == STRING:
                end = pos + n
                add(data[pos:end])
                pos = end
            elif kind == NEG or kind == LONGNEG:
                add(-n)
            elif kind == LONGINT:
                add(n)
            elif kind == VOCAB and forms:
                add(_WORDS[n])
            elif kind == FLOAT:
                # With a prefix, which says nothing.
                add(_unpack(data, pos)[0])
                pos += 8
            else:
                raise _Doubt
        left -= 1
        while not left:
            if not around:
                return items, pos
            done = items if form == _ALIST else tuple(items) if form == _ATUPLE else _made(form, items)
            items, add, left, form = around.pop()
            keyed = form == _ADICT
            add(done)
            left -= 1


def _inKey(around: list[tuple[list[Any], Any, int, int]], left: int, form: int) -> bool:
    """
    Whether it is in a key, or in a member of a set, that one reads. Nothing may come again there: a tuple's hash is
    made of all that is in it, each time, and of fifty pairs, each of the last one twice, that takes years.
    """
    return any(
        form in (_ASET, _AFROZENSET) or (form == _ADICT and not left & 1)
        for left, form in ((left, form), *((left, form) for _, _, left, form in around))
    )


def _number(data: bytes, pos: int) -> tuple[int, int]:
    """
    Read a number that something has, by which it comes again.
    """
    n, kind, pos = _long(data, pos, PREFIX)
    if kind != INT:
        raise _Doubt
    return n, pos


def _holds(data: bytes, pos: int, forms: _Forms) -> bool:
    """
    Whether a list, tuple, dict or set comes next.
    """
    _, kind, pos = _long(data, pos, PREFIX)
    if kind != LIST:
        return False
    form = forms.get(data[pos]) if data[pos + 1] == VOCAB else None
    return (_head(data, pos, forms)[0] if form is None else form) <= _AFROZENSET


def _remembered(begin: bytes) -> str:
    """
    :param begin: of a pair of a dict, with the key in it, which is text.
    """
    key = begin[15:].decode()
    if len(begin) <= 15 + _KEY:
        if len(_keys) >= _KEYS:
            _keys.clear()
        _keys[begin] = key
    return key


def _made(form: int, items: list[Any]) -> Any:
    """
    The dict or set of what was read.
    """
    if form == _ADICT:
        if len(items) > 2 * COLLISIONS and crowded(items[::2], False):
            raise _Doubt
        turns = iter(items)
        # Without "strict", which takes longer than the rest: there is a value for each key.
        return dict(zip(turns, turns))  # noqa: B905
    if crowded(items, True):
        raise _Doubt
    return set(items) if form == _ASET else frozenset(items)


def _head(data: bytes, pos: int, forms: _Forms) -> tuple[int, int]:
    """
    Read what a list of jelly begins with, if that is no number.
    """
    word, pos = _bytes(data, pos, forms)
    return _SPELLED[word], pos


def _short(form: int, n: int, data: bytes, pos: int, forms: _Forms) -> tuple[Any, int]:
    """
    Read what is written as a list and is none, if it is written in an unusual way.
    """
    if n != 2 or form < _UNICODE:
        raise _Doubt
    raw, pos = _bytes(data, pos, forms)
    return (raw.decode() if form == _UNICODE else _BOOLEANS[raw]), pos


def _bytes(data: bytes, pos: int, forms: _Forms) -> tuple[bytes, int]:
    """
    Read a string of Banana's, or a word for which there is a number.
    """
    n, kind, pos = _long(data, pos, PREFIX)
    if kind == STRING:
        return data[pos : pos + n], pos + n
    if kind == VOCAB and forms:
        return _WORDS[n], pos
    raise _Doubt


def _ints(data: bytes, pos: int, items: list[Any], most: int) -> int:
    """
    Read ints as long as they come, all at once.

    A run of them is looked through once: only the innermost of the lists that begin before it comes here.

    :return: where what follows begins.
    """
    run = _INTS.match(data, pos)
    if run is None:
        return pos
    found = run[0].split(b"\x81", most)
    pos = run.end() - len(found.pop())
    done = 0
    while len(found) - done >= _FEW:
        items += _fromGroups(found[done : done + _BLOCK])
        done += _BLOCK
    items += [
        p[0]
        if len(p) == 1
        else p[0] | p[1] << 7
        if len(p) == 2
        else p[0] | p[1] << 7 | p[2] << 14
        if len(p) == 3
        else p[0] | p[1] << 7 | p[2] << 14 | p[3] << 21
        for p in (found[done:] if done else found)
    ]
    return pos


# From jelly to bytes.


def _digits(n: int, kind: int) -> bytes:
    """
    A number, 0 or more, and its type byte.
    """
    if n < 0x80:
        return bytes((n, kind))
    if n < 0x4000:
        return bytes((n & 0x7F, n >> 7, kind))
    if 0x1000_0000 <= n < 0x8_0000_0000:
        # Such as the seconds since 1970.
        return bytes((n & 0x7F, n >> 7 & 0x7F, n >> 14 & 0x7F, n >> 21 & 0x7F, n >> 28, kind))
    out = bytearray()
    while n:
        out.append(n & 0x7F)
        n >>= 7
    out.append(kind)
    return bytes(out)


def _int(n: int) -> bytes:
    if n >= 0:
        return _digits(n, INT if n < 0x8000_0000 else LONGINT)
    return _digits(-n, NEG if n >= -0x8000_0000 else LONGNEG)


_NUMBERS = {word: _digits(number, VOCAB) for word, number in Banana.outgoingVocabulary.items()}
_NO_NUMBERS: dict[bytes, bytes] = {}


def encode(expression: Any, vocabulary: bool, string: int, digits: int = 64) -> bytes:
    """
    What stock's Banana writes for an expression, to the byte.

    :param vocabulary: whether words are sent as their numbers: so it is in dialect ``pb``, and only there.
    :param string: the most bytes of a string and elements of a list, stock's `banana.SIZE_LIMIT`.
    :param digits: the most bytes of a number, base 128: stock's `banana.setPrefixLimit`.
    :raises BananaError: in stock's words, if it has something that is too large or that Banana has no form for.
    :raises RecursionError: if it is too deep for stock as well, or has no end.
    """
    numbers = _NUMBERS if vocabulary else _NO_NUMBERS
    largest = 2 ** (digits * 7) - 1
    out: list[bytes] = []
    add = out.append

    def put(value: Any) -> None:
        if isinstance(value, list | tuple):
            if len(value) > string:
                raise BananaError(f"list/tuple is too long to send ({len(value)})")
            add(_digits(len(value), LIST))
            for each in value:
                put(each)
        elif isinstance(value, int):
            if not -largest <= value <= largest:
                raise BananaError(f"int is too large to send ({value:d})")
            add(_int(value))
        elif isinstance(value, float):
            add(b"\x84" + _pack(value))
        elif isinstance(value, bytes):
            if value in numbers:
                add(numbers[value])
            else:
                if len(value) > string:
                    raise BananaError(f"byte string is too long to send ({len(value)})")
                add(_digits(len(value), STRING))
                add(value)
        else:
            raise BananaError(f"Banana cannot send {fullyQualifiedName(type(value))} objects: {value!r}")

    put(expression)
    return b"".join(out)


# From values to bytes.


class _Again(Exception):
    """Something is there twice, which is told where it comes first."""


class _Dialect:
    """
    How things are written: with numbers for the words of the vocabulary, or without.

    :ivar numbers: what stands for such a word.
    :ivar keys: dict keys that were written, with the pair that they begin; few and small, see `_KEYS`.
    """

    def __init__(self, numbers: dict[bytes, bytes]) -> None:
        self.numbers = numbers
        self.keys: dict[str, bytes] = {}
        self.none = b"\x01\x80" + self.word(b"None")
        self.true = b"\x02\x80" + self.word(b"boolean") + self.word(b"true")
        self.false = b"\x02\x80" + self.word(b"boolean") + self.word(b"false")
        self.heads: dict[type[Any], bytes] = {
            list: self.word(b"list"),
            tuple: self.word(b"tuple"),
            dict: self.word(b"dictionary"),
            set: self.word(b"set"),
            frozenset: self.word(b"frozenset"),
        }
        # The same with their lengths, as far as these are short.
        self.short = {of: [bytes((n + 1, LIST)) + head for n in range(127)] for of, head in self.heads.items()}
        self.call = {prefix: b"\x07\x80" + self.word(prefix + b"message") for prefix in (b"", b"cache")}
        self.answer = b"\x03\x80" + self.word(b"answer")
        self.reference = b"\x03\x80" + self.word(b"reference")
        self.dereference = b"\x02\x80" + self.word(b"dereference")

    def word(self, word: bytes) -> bytes:
        """
        :return: bytes, written, of 127 at most.
        """
        return self.numbers.get(word) or bytes((len(word), STRING)) + word


_DIALECTS = (_Dialect(_NO_NUMBERS), _Dialect(_NUMBERS))
#: One group of seven bits, as it is, and the last of an int.
_GROUP = [bytes((n,)) for n in range(0x80)]
_LAST = [bytes((n, INT)) for n in range(0x80)]
_TEXTS = [b"\x02\x80" + _TEXT + bytes((n, STRING)) for n in range(0x80)]
_STRINGS = [bytes((n, STRING)) for n in range(0x80)]
_LONGEST = max(map(len, _NUMBERS))
_INTS_ONLY = {int}
_Seen = set[int] | dict[int, int]
_NOTHING_KNOWN: dict[str, bytes] = {}


def _write(
    values: Iterable[Any],
    keys: Iterator[Any] | None,
    add: Any,
    dialect: _Dialect,
    seen: _Seen,
    string: int,
    bits: int,
    deeper: int = DEEPEST,
) -> None:
    """
    Write plain values, each as jelly has it. Nearly all the time of writing is spent here, so it is one function.

    :param keys: where these are the values of a dict, their keys.
    :param add: takes pieces.
    :param seen: the ids of the lists, tuples, dicts and sets of this jelly so far; or all that it has, see `_counted`.
    :param bits: of the largest int.
    :param deeper: how many levels there may be below.
    :raises _Again: if one comes again, and they have not been counted.
    """
    numbers = dialect.numbers
    # Where a key may be too long for a string, each is looked at.
    known = _NOTHING_KNOWN if keys is None or string < 4 * _KEY else dialect.keys
    for value in values:
        if keys is not None:
            # The same few keys come again and again, so they are remembered.
            key = next(keys)
            written = known.get(key) if type(key) is str else None
            add(_key(key, dialect, seen, string, bits, deeper) if written is None else written)
        kind = type(value)
        if kind is str:
            raw = value.encode()
            n = len(raw)
            if n <= _LONGEST and raw in numbers:
                add(b"\x02\x80" + _TEXT + numbers[raw])
            elif n > string:
                raise _Doubt
            else:
                add(_TEXTS[n] if n < 0x80 else b"\x02\x80" + _TEXT + _digits(n, STRING))
                add(raw)
        elif kind is int:
            if 0 <= value < 0x80:
                add(_LAST[value])
            elif 0 < value < 0x4000:
                add(_GROUP[value & 0x7F] + _LAST[value >> 7])
            elif 0 < value < 0x20_0000:
                add(_GROUP[value & 0x7F] + _GROUP[value >> 7 & 0x7F] + _LAST[value >> 14])
            elif value.bit_length() > bits:
                raise _Doubt
            else:
                add(_int(value))
        elif kind is float:
            add(b"\x84" + _pack(value))
        elif kind is bytes:
            n = len(value)
            if n <= _LONGEST and value in numbers:
                add(numbers[value])
            elif n > string:
                raise _Doubt
            else:
                add(_STRINGS[n] if n < 0x80 else _digits(n, STRING))
                add(value)
        elif value is None:
            add(dialect.none)
        elif kind is bool:
            add(dialect.true if value else dialect.false)
        else:
            short = dialect.short[kind]
            n = len(value)
            mark = id(value)
            if n >= string or not deeper:
                raise _Doubt
            if mark not in seen:
                seen.add(mark)  # type: ignore[union-attr]
            elif _writeNumber(seen, mark, add, dialect):
                continue
            add(short[n] if n < 127 else _digits(n + 1, LIST) + dialect.heads[kind])
            if kind is dict:
                _write(value.values(), iter(value), add, dialect, seen, string, bits, deeper - 1)
            elif n < _FEW or bits < 28 or not _writeInts(value, kind, add):
                _write(value, None, add, dialect, seen, string, bits, deeper - 1)


def _writeNumber(seen: _Seen, mark: int, add: Any, dialect: _Dialect) -> bool:
    """
    Where something comes more than once, write its number: before it, or in its place.

    :return: whether that is all.
    """
    if type(seen) is set:
        raise _Again
    numbers: dict[int, int] = seen  # type: ignore[assignment]
    number = numbers[mark]
    if number < 0:
        add(dialect.dereference + _int(-number))
    elif number:
        add(dialect.reference + _int(number))
        numbers[mark] = -number
    return number < 0


def _counted(value: Any) -> dict[int, int]:
    """
    :return: the ids of all lists, tuples, dicts and sets in a value, and itself. Those that come again have a number
        above 0, in the order in which they do, as in jelly.
    """
    found: dict[int, int] = {}
    number = 0
    around = [iter((value,))]
    while around:
        for each in around[-1]:
            kind = type(each)
            if kind not in _DIALECTS[0].heads:
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


def _anew(begin: list[bytes], values: tuple[Any, ...], dialect: _Dialect, string: int, bits: int) -> bytes | None:
    """
    What comes again in some values is counted first, and then they are written, each a jelly of its own. That is rare,
    and so is not looked for beforehand.

    :param begin: what comes before them.
    """
    try:
        for value in values:
            _write((value,), None, begin.append, dialect, _counted(value), string, bits)
        return b"".join(begin)
    except Exception:
        return None


def _writeInts(values: Any, kind: type[Any], add: Any) -> bool:
    """
    Write ints, if all are, and usual ones.
    """
    if kind is not list and kind is not tuple:
        return False
    # The first of times, or of negative ones, tells what the others will be.
    if type(values[0]) is not int or not 0 <= values[0] < 0x1000_0000 or set(map(type, values)) != _INTS_ONLY:
        return False
    try:
        data = [_toGroups(values[at : at + _BLOCK]) for at in range(0, len(values), _BLOCK)]
    except (_Doubt, struct.error):
        return False
    add(b"".join(data))
    return True


def _key(key: Any, dialect: _Dialect, seen: _Seen, string: int, bits: int, deeper: int) -> bytes:
    """
    :return: what begins a pair of a dict, with the key in it.
    """
    parts: list[bytes] = [b"\x02\x80"]
    _write((key,), None, parts.append, dialect, seen, string, bits, deeper)
    written = b"".join(parts)
    if type(key) is str and len(key) <= _KEY and string >= 4 * _KEY:
        if len(dialect.keys) >= _KEYS:
            dialect.keys.clear()
        dialect.keys[key] = written
    return written


def _raw(value: Any, dialect: _Dialect, string: int, bits: int) -> bytes:
    """
    A header field: an int, a bool, which Banana writes as an int, or bytes.
    """
    kind = type(value)
    if kind is int or kind is bool:
        number: int = value
        if 0 <= number < 0x80:
            return _LAST[number]
        if 0 < number < 0x4000 and bits >= 14:
            return _GROUP[number & 0x7F] + _LAST[number >> 7]
        if number.bit_length() > bits:
            raise _Doubt
        return _int(number)
    if kind is not bytes or len(value) > string:
        raise _Doubt
    return dialect.numbers.get(value) or _digits(len(value), STRING) + value


def encodeCall(
    prefix: bytes,
    requestID: Any,
    objectID: Any,
    name: str | bytes,
    answerRequired: Any,
    args: tuple[Any, ...],
    kw: dict[str, Any],
    vocabulary: bool,
    string: int,
    digits: int = 64,
) -> bytes | None:
    """
    A whole call, as stock's jelly and Banana write it, to the byte.

    :param prefix: ``b""``, or ``b"cache"`` for a change of a Cacheable.
    :param vocabulary: as for `encode`, like `string` and `digits`.
    :return: None if something is not plain, or is too large or too deep: stock's jelly and `encode` know what to do.
    """
    tail = encodeTail(name, answerRequired, args, kw, vocabulary, string, digits)
    return None if tail is None else splice(prefix, requestID, objectID, tail, vocabulary, string, digits)


def encodeTail(
    name: str | bytes,
    answerRequired: Any,
    args: tuple[Any, ...],
    kw: dict[str, Any],
    vocabulary: bool,
    string: int,
    digits: int = 64,
) -> bytes | None:
    """
    What is the same in a call that goes to many: all but the ids, which `splice` puts before it.

    :return: None as for `encodeCall`.
    """
    dialect = _DIALECTS[bool(vocabulary)]
    bits = digits * 7
    try:
        if type(args) is not tuple or type(kw) is not dict:
            return None
        raw = name.encode() if type(name) is str else name
        parts: list[bytes] = []
        if type(raw) is bytes and type(answerRequired) is int:
            _write((raw, answerRequired, args), None, parts.append, dialect, set(), string, bits)
        else:
            parts += (_raw(raw, dialect, string, bits), _raw(answerRequired, dialect, string, bits))
            _write((args,), None, parts.append, dialect, set(), string, bits)
        if kw:
            _write((kw,), None, parts.append, dialect, set(), string, bits)
        else:
            parts.append(dialect.short[dict][0])
        return b"".join(parts)
    except _Again:
        begin = [_raw(raw, dialect, string, bits), _raw(answerRequired, dialect, string, bits)]
        return _anew(begin, (args, kw), dialect, string, bits)
    except Exception:
        return None


def splice(
    prefix: bytes, requestID: Any, objectID: Any, tail: bytes, vocabulary: bool, string: int, digits: int = 64
) -> bytes | None:
    """
    A call: a tail made by `encodeTail` in the same dialect, with the ids that differ from one connection to the next.

    :return: None if an id is neither an int nor bytes, or is too large.
    """
    dialect = _DIALECTS[bool(vocabulary)]
    try:
        ids = _raw(requestID, dialect, string, digits * 7) + _raw(objectID, dialect, string, digits * 7)
        return dialect.call[prefix] + ids + tail
    except (_Doubt, KeyError):
        return None


def encodeAnswer(requestID: Any, value: Any, vocabulary: bool, string: int, digits: int = 64) -> bytes | None:
    """
    A whole answer, as stock's jelly and Banana write it, to the byte.

    :return: None as for `encodeCall`.
    """
    dialect = _DIALECTS[bool(vocabulary)]
    try:
        parts = [dialect.answer]
        if type(requestID) in _RAW:
            _write((requestID, value), None, parts.append, dialect, set(), string, digits * 7)
        else:
            parts.append(_raw(requestID, dialect, string, digits * 7))
            _write((value,), None, parts.append, dialect, set(), string, digits * 7)
        return b"".join(parts)
    except _Again:
        begin = [dialect.answer, _raw(requestID, dialect, string, digits * 7)]
        return _anew(begin, (value,), dialect, string, digits * 7)
    except Exception:
        return None


def encodePlain(value: Any, vocabulary: bool, string: int, digits: int = 64) -> bytes | None:
    """
    One value alone, as stock's jelly and Banana write it.

    :return: None as for `encodeCall`.
    """
    parts: list[bytes] = []
    dialect = _DIALECTS[bool(vocabulary)]
    try:
        _write((value,), None, parts.append, dialect, set(), string, digits * 7)
        return b"".join(parts)
    except _Again:
        return _anew([], (value,), dialect, string, digits * 7)
    except Exception:
        return None

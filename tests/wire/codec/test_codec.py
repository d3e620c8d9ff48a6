"""
The codec, in Python and compiled, compared with stock's Banana and jelly: the same bytes, the same values.

Each property is tried some hundred times; ``PBKIT_CASES=100000`` sets another number.
"""

from __future__ import annotations

import collections
import decimal
import enum
import gc
import math
import os
import pickle
import random
import struct
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import FrameType, ModuleType
from typing import Any
from unittest import skipIf

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.spread import banana
from twisted.spread.banana import BananaError
from twisted.spread.jelly import globalSecurity, jelly
from twisted.trial.unittest import SynchronousTestCase

from pbkit.errors import Malformed, TooLarge
from pbkit.wire import codec
from pbkit.wire.codec import pure
from tests.wire import stockwire
from tests.wire.stockwire import shape, stockBytes, stockCall, stockExpression, stockValue

try:
    core: ModuleType | None = import_module("pbkit.wire.codec._codec")
except ImportError:
    core = None

CASES = int(os.environ.get("PBKIT_CASES", "120"))
tried = settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors, HealthCheck.data_too_large],
)

SIZE = banana.SIZE_LIMIT
#: Stock's limits: it has none for the whole message.
WIDE = (1 << 30, SIZE, 1_000_000, SIZE)


class _Case(SynchronousTestCase):
    """
    What the tests of both share.

    :ivar codec: the one that is tried.
    """

    codec: Any

    def framer(self, *bounds: int) -> Any:
        """Return a Framer with these limits, by default stock's."""
        return self.codec.Framer(*(bounds or WIDE))

    def messages(self, *chunks: bytes, bounds: tuple[int, ...] = WIDE) -> list[bytes]:
        """Return the complete messages of a stream."""
        framer, found = self.framer(*bounds), []
        for chunk in chunks:
            framer.feed(chunk)
            while (message := framer.next()) is not None:
                found.append(message)
        return found

    def read(self, stream: bytes) -> list[Any]:
        """Return what `decodePlain` says of each message of a stream, as soon as it is cut out."""
        framer, found = self.framer(), []
        framer.feed(stream)
        while (message := framer.next()) is not None:
            found.append(self.codec.decodePlain(message))
            # The values that were read while the message was cut out are those of its bytes.
            self.assertEqual(shape(found[-1]), shape(self.codec.decodePlain(bytes(bytearray(message)))))
        return found

    def refused(self, stream: bytes, *bounds: int) -> tuple[str, int]:
        """Return the limit that a stream exceeds with its last byte, not before; also byte by byte."""
        for chunks in ([stream], [stream[i : i + 1] for i in range(len(stream))]):
            framer = self.framer(*bounds)
            for chunk in chunks[:-1]:
                framer.feed(chunk)
                self.assertIsNone(framer.next())
            framer.feed(chunks[-1])
            error = self.assertRaises(TooLarge, framer.next)
        return error.which, error.bound


class FramerMixin:
    """Where messages end."""

    def test_cuts(self: Any) -> None:
        """Messages are returned one by one, unchanged, however many are in a chunk."""
        expressions: list[Any] = [[], [b"a", [1, [2.5, b"message"]]], b"pb", 5, -7, 1.5, [[], [[]]], b""]
        sent = [stockBytes(each) for each in expressions]
        self.assertEqual(self.messages(b"".join(sent)), sent)
        self.assertEqual(self.messages(*[b"".join(sent)[i : i + 1] for i in range(len(b"".join(sent)))]), sent)

    @tried
    @given(st.lists(stockwire.expressions, max_size=5), st.data())
    def test_cutsAnyChunks(self: Any, expressions: list[Any], data: st.DataObject) -> None:
        """However the network cuts a stream, the messages are the same, and nothing is held at the end."""
        sent = [stockBytes(each) for each in expressions if stockwire.sendable(each)]
        chunks = stockwire.chunked(data.draw, b"".join(sent))
        framer, found = self.framer(), []
        lazy = data.draw(st.booleans())
        for chunk in chunks:
            framer.feed(chunk)
            while (message := framer.next()) is not None:
                found.append(message)
                if lazy:
                    break
        while (message := framer.next()) is not None:
            found.append(message)
        self.assertEqual(found, sent)
        self.assertEqual(framer.held, 0)

    def test_held(self: Any) -> None:
        """`held` counts the bytes that were fed and not returned."""
        framer = self.framer()
        message = stockBytes([b"abc", 1, 2])
        self.assertEqual(framer.held, 0)
        framer.feed(message + message + message[:4])
        self.assertEqual(framer.held, 2 * len(message) + 4)
        self.assertEqual(framer.next(), message)
        self.assertEqual(framer.held, len(message) + 4)
        framer.feed(message[4:])
        self.assertEqual([framer.next(), framer.next(), framer.next()], [message, message, None])
        self.assertEqual(framer.held, 0)

    def test_anyBytes(self: Any) -> None:
        """Any bytes-like object can be fed, and changed afterwards."""
        message = stockBytes([b"abc", 1, 2])
        for kind in (bytes, bytearray, memoryview):
            framer = self.framer()
            for part in (message[:3], message[3:] + message, b"", message):
                chunk = bytearray(part)
                framer.feed(chunk if kind is bytearray else kind(bytes(chunk)))
                chunk[:] = b"\xff" * len(chunk)
            self.assertEqual([framer.next() for _ in range(4)], [message, message, message, None])

    def test_nothing(self: Any) -> None:
        """Without a byte there is no message."""
        framer = self.framer()
        self.assertIsNone(framer.next())
        framer.feed(b"")
        self.assertIsNone(framer.next())

    def test_announced(self: Any) -> None:
        """A string or list that is too long is refused when its length arrives."""
        bounds = (1 << 60, 100, 10, 1000)
        self.assertEqual(self.refused(stockBytes([b"x" * 1001])[:5], *bounds), ("string", 1000))
        self.assertEqual(self.refused(stockBytes([0] * 101)[:2], *bounds), ("list", 100))
        huge = bytes(((1 << 40) >> (7 * i)) & 0x7F for i in range(6))
        self.assertEqual(self.refused(huge + b"\x82", *bounds), ("string", 1000))
        self.assertEqual(self.refused(huge + b"\x80", *bounds), ("list", 100))
        self.assertEqual(self.refused(b"\x00" * 63 + b"\x01\x82", *bounds), ("string", 1000))
        self.assertEqual(self.messages(stockBytes([b"x" * 1000]), bounds=bounds), [stockBytes([b"x" * 1000])])

    def test_items(self: Any) -> None:
        """The items of a whole message are counted when they are announced; the message itself is one."""
        bounds = (10_000, 10, 10, 100)
        fits = stockBytes([[1, 2, 3], [4, 5, 6], 7])
        self.assertEqual(self.messages(fits, fits, bounds=bounds), [fits, fits])
        self.assertEqual(self.refused(stockBytes([[1, 2, 3], [4, 5, 6], 7, 8])[:12], *bounds), ("items", 10))

    def test_depth(self: Any) -> None:
        """The limit on depth counts lists within lists, not lists beside each other."""
        bounds = (10_000, 1000, 4, 100)
        fits = stockBytes([[[[]], [[]]], [[[1], [2]], 3, [[], []]], [[[]]]])
        self.assertEqual(self.messages(fits, fits, bounds=bounds), [fits, fits])
        self.assertEqual(self.refused(stockBytes([[], [[[[]]]]])[:12], *bounds), ("depth", 4))

    def test_bomb(self: Any) -> None:
        """A million lists within each other are refused at the limit; without a limit they are one message."""
        bomb = b"\x01\x80" * 1_000_000 + b"\x00\x80"
        framer = self.framer(1 << 30, 1 << 30, 100, 100)
        framer.feed(bomb)
        error = self.assertRaises(TooLarge, framer.next)
        self.assertEqual((error.which, error.bound, framer.held), ("depth", 100, 0))
        (whole,) = self.messages(bomb[-400_002:], bounds=(1 << 30, 1 << 30, 1 << 30, 100))
        self.assertIsNone(self.codec.decodePlain(b"\x03\x80\x1b\x87\x01\x81" + whole))
        found, depth = self.codec.decode(whole), 0
        while found:
            (found,) = found
            depth += 1
        self.assertEqual(depth, 200_000)

    def test_message(self: Any) -> None:
        """The limit on a message counts what is announced and what has arrived."""
        bounds = (20, 100, 10, 100)
        fits = stockBytes([b"x" * 16])
        self.assertEqual(len(fits), 20)
        self.assertEqual(self.messages(fits, fits, bounds=bounds), [fits, fits])
        self.assertEqual(self.refused(stockBytes([b"x" * 17])[:4], *bounds), ("message", 20))
        self.assertEqual(self.refused(stockBytes([0] * 20)[:2], *bounds), ("message", 20))
        framer = self.framer(*bounds)
        framer.feed(stockBytes([2**40] * 18))
        self.assertEqual(self.assertRaises(TooLarge, framer.next).which, "message")

    def test_prefix(self: Any) -> None:
        """A number has at most 64 bytes, as in stock, or any other limit."""
        longest = b"\x01\x80" + b"\x7f" * 64 + b"\x85"
        self.assertEqual(self.messages(longest), [longest])
        self.assertEqual(self.codec.decode(longest), [2**448 - 1])
        self.assertEqual(self.refused(b"\x01\x80" + b"\x00" * 65, *WIDE), ("prefix", 64))
        self.assertEqual(self.refused(b"\x01\x80" + b"\x00" * 4, *WIDE, 3), ("prefix", 3))
        self.assertEqual(self.messages(b"\x50\x80" + b"\x00\x00\x01\x81" * 80, bounds=(*WIDE, 3))[0][-1], 0x81)
        self.assertRaises(TooLarge, self.messages, b"\x7f\x80" + b"\x01\x81" * 70 + b"\x01" * 4, bounds=(*WIDE, 3))
        self.assertRaises(TooLarge, self.messages, b"\x7f\x80" + b"\x01\x81" * 120 + b"\x01" * 65)

    def test_emptyPrefix(self: Any) -> None:
        """An empty prefix is 0: no peer sends it, and stock accepts it."""
        self.assertEqual(self.codec.decode(self.messages(b"\x04\x80\x81\x82\x83\x80")[0]), [0, b"", 0, []])
        self.assertEqual(stockExpression(b"\x04\x80\x81\x82\x83\x80"), [0, b"", 0, []])

    def test_noType(self: Any) -> None:
        """An unknown type byte is refused, and the error names it."""
        framer = self.framer()
        framer.feed(stockBytes([1, 2]) + b"\x02\x80\x01\x88")
        self.assertEqual(framer.next(), stockBytes([1, 2]))
        error = self.assertRaises(Malformed, framer.next)
        self.assertIn("0x88", str(error))

    def test_dead(self: Any) -> None:
        """After an error nothing is held or accepted any more, and each later call raises the error again."""
        for stream, kind in ((b"\x05\xff", Malformed), (b"\x7f" * 70, TooLarge)):
            framer = self.framer()
            framer.feed(stream)
            first = self.assertRaises(kind, framer.next)
            framer.feed(stockBytes([1]) * 100)
            self.assertEqual(framer.held, 0)
            again = self.assertRaises(kind, framer.next)
            self.assertEqual(str(again), str(first))
            self.assertIsNot(again, first)

    def test_limit(self: Any) -> None:
        """New limits apply from the next message on, even if it has arrived; one that has begun keeps its limits."""
        small, large = stockBytes([b"x" * 5]), stockBytes([b"x" * 50])
        framer = self.framer(1000, 100, 10, 10)
        framer.feed(small + large + large)
        self.assertEqual(framer.next(), small)
        framer.limit(1000, 100, 10, 50)
        self.assertEqual(framer.next(), large)
        framer.limit(1000, 100, 10, 10)
        self.assertEqual(self.assertRaises(TooLarge, framer.next).bound, 10)
        framer = self.framer(1000, 100, 10, 10)
        framer.feed(small[:1])
        self.assertIsNone(framer.next())
        framer.limit(1000, 100, 10, 4)
        framer.feed(small[1:] + small)
        self.assertEqual(framer.next(), small)
        self.assertEqual(self.assertRaises(TooLarge, framer.next).bound, 4)

    def test_bounds(self: Any) -> None:
        """A limit below 1 raises ValueError."""
        for bounds in ((0, 1, 1, 1), (1, 0, 1, 1), (1, 1, -1, 1), (1, 1, 1, 0), (1, 1, 1, 1, 0)):
            self.assertIn("1 or more", str(self.assertRaises(ValueError, self.framer, *bounds)))
        self.assertRaises(ValueError, self.framer().limit, 1, 1, 1, 0)
        self.assertRaises(TypeError, self.codec.Framer, 1, 2)
        self.assertRaises(TypeError, self.framer().feed, "text")

    def test_whatCameOutIsNotTouched(self: Any) -> None:
        """A returned message does not change, whatever is fed later."""
        framer = self.framer()
        messages = [stockBytes([b"%d" % n * 50, n]) for n in range(50)]
        stream, found = b"".join(messages), []
        for i in range(0, len(stream), 37):
            framer.feed(stream[i : i + 37])
            while (message := framer.next()) is not None:
                found.append(message)
        self.assertEqual(found, messages)

    def test_oneByteItems(self: Any) -> None:
        """300,000 items of one byte, fed one byte at a time, are one message."""
        framer = self.framer(1 << 30, 1 << 30, 10, 10)
        size = 300_000
        head = bytes((size & 0x7F, size >> 7 & 0x7F, size >> 14, 0x80))
        framer.feed(head)
        for _ in range(size - 1):
            framer.feed(b"\x81")
            if framer.next() is not None:
                raise AssertionError("too early")
        framer.feed(b"\x81")
        self.assertEqual(framer.next(), head + b"\x81" * size)
        self.assertEqual(framer.held, 0)

    def test_manyMessagesInAChunk(self: Any) -> None:
        """The 200,000 messages of a chunk are returned; the rest of the chunk is not copied each time."""
        stream = b"\x01\x80\x05\x81" * 200_000
        framer, count = self.framer(), 0
        framer.feed(stream)
        while framer.next() is not None:
            count += 1
        self.assertEqual(count, 200_000)

    def test_emptyLists(self: Any) -> None:
        """200,000 empty lists in a list are no deeper than one."""
        stream = stockBytes([[]] * 200_000)
        self.assertEqual(len(self.codec.decode(self.messages(stream, bounds=(1 << 30, 1 << 30, 2, 1))[0])), 200_000)


class ExpressionMixin:
    """Banana alone."""

    @tried
    @given(stockwire.mangled(stockwire.streams), st.booleans(), st.data())
    def test_streams(self: Any, stream: bytes, vocabulary: bool, data: st.DataObject) -> None:
        """Any bytes are read as stock reads them; where stock raises, so does the codec."""
        theirs = stockwire.StockBanana(vocabulary)
        framer = self.framer()
        got: list[Any] = []
        error: Any = None
        for chunk in stockwire.chunked(data.draw, stream):
            try:
                theirs.dataReceived(chunk)
            except (BananaError, NotImplementedError, KeyError) as their:
                error = their
            try:
                framer.feed(chunk)
                while (message := framer.next()) is not None:
                    got.append(self.codec.decode(message, vocabulary))
            except (TooLarge, Malformed) as our:
                self.assertEqual(shape(got), shape(theirs.got))
                # Stock has no limit on items, and reads as many as are announced one by one.
                self.assertTrue(error is not None or getattr(our, "which", "") == "items", our)
                return
            if error is not None:
                break
        self.assertEqual(shape(got), shape(theirs.got))
        if error is not None:
            # An unknown word, which Framer does not look at, in a message that is not complete.
            self.assertIsInstance(error, KeyError | NotImplementedError)
            self.assertNotIn("Type Byte", str(error))
            self.assertGreater(framer.held, 0)

    @tried
    @given(stockwire.expressions, st.booleans())
    def test_encode(self: Any, expression: Any, vocabulary: bool) -> None:
        """An expression is written as stock writes it, and refused with the same error."""
        try:
            expected = stockBytes(expression, vocabulary)
        except BananaError as their:
            our = self.assertRaises(BananaError, self.codec.encode, expression, vocabulary, SIZE)
            self.assertEqual(str(our), str(their))
            return
        self.assertEqual(self.codec.encode(expression, vocabulary, SIZE), expected)
        self.assertEqual(shape(self.codec.decode(expected, vocabulary)), shape(stockExpression(expected, vocabulary)))

    def test_encodeOdd(self: Any) -> None:
        """Subclasses are sent as their base class; other objects are refused as by stock."""

        class Number(int):
            pass

        class Name(bytes):
            pass

        class Point(tuple[int, ...]):
            pass

        class Row(list[Any]):
            pass

        fine: list[Any] = [True, [False, Number(5)], Name(b"list"), Name(b"x"), Point((1, 2)), Row([Row()]), (1, (2,))]
        for each in fine:
            self.assertEqual(self.codec.encode(each, True, SIZE), stockBytes(each))
        for each in ("text", ["text"], None, [None], {}, [[object]], bytearray(b"x"), 1j):
            theirs = self.assertRaises(BananaError, stockBytes, each)
            ours = self.assertRaises(BananaError, self.codec.encode, each, True, SIZE)
            self.assertEqual(str(ours), str(theirs))

    def test_encodeBounds(self: Any) -> None:
        """What is too large is refused in stock's words, then with the limit and what to do; at the limit it is not."""
        self.patch(banana, "SIZE_LIMIT", 10)
        for each in (b"x" * 11, [1] * 11, (1,) * 11, [[b"y" * 200]], 2**448, [-(2**448)], b"not_logged_in"):
            for vocabulary in (True, False):
                try:
                    expected = stockBytes(each, vocabulary)
                except BananaError as their:
                    our = self.assertRaises(BananaError, self.codec.encode, each, vocabulary, 10)
                    self.assertTrue(str(our).startswith(str(their)), str(our))
                    self.assertEqual("too long" in str(our), "the limit is 10 " in str(our))
                else:
                    self.assertEqual(self.codec.encode(each, vocabulary, 10), expected)
        for each in (b"x" * 10, [1] * 10, 2**448 - 1, 1 - 2**448):
            self.assertEqual(self.codec.encode(each, True, 10), stockBytes(each))
        self.assertEqual(self.codec.encode(2**70 - 1, True, 10, 10), stockBytes(2**70 - 1))
        self.assertIn(f"({2**70})", str(self.assertRaises(BananaError, self.codec.encode, 2**70, True, 10, 10)))
        # Python refuses to print so many digits, so this is its own error, as in stock.
        self.assertRaises(ValueError, stockBytes, 10**5000)
        self.assertRaises(ValueError, self.codec.encode, 10**5000, True, 10)

    def test_encodeEndless(self: Any) -> None:
        """A value that holds itself, or is too deep, is refused as by stock."""
        endless: list[Any] = []
        endless.append(endless)
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        for each in (endless, deep):
            self.assertRaises(RecursionError, self.codec.encode, each, True, SIZE)
        while deep:
            (deep,) = deep

    def test_decodeNoMessage(self: Any) -> None:
        """Bytes that are not one whole message are refused, and not read beyond their end."""
        whole = stockBytes([b"abc", 1.5, 2**40, [b"message", []]])
        for cut in range(len(whole)):
            self.assertRaises(Malformed, self.codec.decode, whole[:cut])
        self.assertRaises(Malformed, self.codec.decode, whole + b"\x00")
        self.assertRaises(Malformed, self.codec.decode, b"\x7f" * 9 + b"\x82")
        self.assertRaises(Malformed, self.codec.decode, b"\x7f" * 60 + b"\x82")
        self.assertRaises(Malformed, self.codec.decode, b"\x7f" * 60 + b"\x80")
        self.assertRaises(TypeError, self.codec.decode, "text")

    def test_decodeWords(self: Any) -> None:
        """Each word of the vocabulary is read, no other number is; without a vocabulary none is."""
        for word, number in banana.Banana.outgoingVocabulary.items():
            self.assertEqual(self.codec.decode(bytes((number, 0x87))), word)
            self.assertEqual(self.codec.decode(bytes((number, 0, 0, 0x87))), word)
            self.assertRaises(Malformed, self.codec.decode, bytes((number, 0x87)), False)
        for prefix in (b"", b"\x00", b"\x20", b"\x7f" * 64):
            self.assertRaises(Malformed, self.codec.decode, prefix + b"\x87")


class ValueMixin:
    """Jelly and Banana in one pass."""

    def same(self: Any, data: bytes, vocabulary: bool = True) -> bool:
        """Compare what is read of a call with stock. Return False if it is left to stock."""
        found = self.codec.decodePlain(data, vocabulary)
        if found is None:
            return False
        word, requestID, objectID, name, answer, args, kw = stockExpression(data, vocabulary)
        self.assertEqual(word, b"message")
        expected = ("message", requestID, objectID, name.decode(), answer)
        self.assertEqual((found[:5], [*map(type, found)]), (expected, [*map(type, expected), type(found[5]), dict]))
        self.assertIn(type(found[5]), (tuple, list))
        self.assertEqual(shape(found[5]), shape(stockValue(args)))
        self.assertEqual(shape(found[6]), shape(stockValue(kw)))
        return True

    @tried
    @given(stockwire.calls, st.booleans(), st.sampled_from([b"", b"cache"]))
    def test_calls(self: Any, call: tuple[Any, ...], vocabulary: bool, prefix: bytes) -> None:
        """A call is written as stock writes it, to the byte, and read back unchanged."""
        found = self.codec.encodeCall(prefix, *call, vocabulary, SIZE)
        try:
            expected = stockCall(call, vocabulary, prefix)
        except BananaError:
            self.assertIsNone(found)
            return
        self.assertEqual(found, expected)
        tail = self.codec.encodeTail(*call[2:], vocabulary, SIZE)
        self.assertEqual(self.codec.splice(prefix, *call[:2], tail, vocabulary, SIZE), expected)
        if not prefix:
            try:
                call[2].decode()
            except UnicodeDecodeError:
                self.assertFalse(self.same(found, vocabulary))
            else:
                self.assertTrue(self.same(found, vocabulary) or stockwire.inKeys(*call[-2:]))
                (read,) = self.read(found)
                self.assertEqual(shape(read), shape(self.codec.decodePlain(found)))

    @tried
    @given(stockwire.heads, stockwire.values, st.booleans())
    def test_answers(self: Any, requestID: Any, value: Any, vocabulary: bool) -> None:
        """An answer is written as stock writes it, to the byte, and read back unchanged."""
        found = self.codec.encodeAnswer(requestID, value, vocabulary, SIZE)
        try:
            expected = stockBytes([b"answer", requestID, jelly(value, globalSecurity)], vocabulary)
        except BananaError:
            self.assertIsNone(found)
            return
        self.assertEqual(found, expected)
        alone = self.codec.encodePlain(value, vocabulary, SIZE)
        self.assertEqual(alone, stockBytes(jelly(value, globalSecurity), vocabulary))
        read = self.codec.decodePlain(found, vocabulary)
        if read is None:
            self.assertTrue(stockwire.inKeys(value))
            return
        kind, again, back = read
        self.assertEqual((kind, again), ("answer", requestID))
        self.assertEqual(shape(back), shape(stockValue(stockExpression(found, vocabulary)[2])))

    @tried
    @given(stockwire.graphs())
    def test_shared(self: Any, value: Any) -> None:
        """Containers that come twice, or hold themselves, are written as by stock; cycles are not read."""
        try:
            expected = stockBytes([b"answer", 1, jelly(value, globalSecurity)])
        except BananaError:
            expected = None
        found = self.codec.encodeAnswer(1, value, True, SIZE)
        self.assertEqual(found, expected)
        if found is None:
            return
        read = self.codec.decodePlain(found)
        self.assertEqual(read is None, stockwire.endless(value))
        if read is not None:
            self.assertEqual(shape(read[2]), shape(stockValue(stockExpression(found)[2])))

    @tried
    @given(stockwire.heads, stockwire.nearly, stockwire.nearly)
    def test_expressions(self: Any, head: Any, args: Any, kw: Any) -> None:
        """If a value is read from any jelly, right or wrong, it is the value that stock reads."""
        try:
            data = stockBytes([b"message", head, 1, b"name", 1, args, kw])
        except BananaError:
            return
        self.same(data)
        answer = stockBytes([b"answer", head, args])
        found = self.codec.decodePlain(answer)
        if found is not None:
            self.assertEqual(shape(found[2]), shape(stockValue(stockExpression(answer)[2])))

    @tried
    @given(stockwire.mangled(stockwire.callStreams), st.booleans())
    def test_mangled(self: Any, data: bytes, vocabulary: bool) -> None:
        """If a value is read from any bytes, it is the value that stock reads from them."""
        try:
            messages = self.messages(data)
            self.read(data)
        except (TooLarge, Malformed):
            messages = []
        for message in messages:
            if message[:1] == b"\x03":
                found = self.codec.decodePlain(message, vocabulary)
                if found is not None:
                    word, requestID, value = stockExpression(message, vocabulary)
                    self.assertEqual((b"answer", requestID), (word, found[1]))
                    self.assertEqual(shape(found[2]), shape(stockValue(value)))
            else:
                self.same(message, vocabulary)
        # The same with the bytes as they are, complete or not: no error, and no read beyond the end.
        if self.codec.decodePlain(data, vocabulary) is not None:
            self.assertEqual(messages, [data])

    def test_words(self: Any) -> None:
        """Words of the vocabulary are written as numbers everywhere, also in texts; in the other dialect nowhere."""
        for word in stockwire.WORDS + stockwire.ATOMS:
            call = (1, 2, word, 1, (word, word.decode(), [word.decode()]), {word.decode(): word})
            for vocabulary in (True, False):
                data = stockCall(call, vocabulary)
                self.assertEqual(self.codec.encodeCall(b"", *call, vocabulary, SIZE), data)
                self.assertTrue(self.same(data, vocabulary))
            # A peer that has not agreed on the vocabulary may not use it.
            self.assertIsNone(self.codec.decodePlain(stockCall(call, True), False))

    def test_name(self: Any) -> None:
        """A name may be a str; a str that cannot be encoded is left to stock, also as a value."""
        self.assertEqual(
            self.codec.encodeCall(b"", 1, 2, "grüß", 1, (), {}, True, SIZE),
            stockCall((1, 2, "grüß".encode(), 1, (), {})),
        )
        for name, args, kw in (("\ud800", (), {}), (b"x", ("\ud800",), {}), (b"x", (), {"\udfff": 1})):
            self.assertIsNone(self.codec.encodeCall(b"", 1, 2, name, 1, args, kw, True, SIZE))
        self.assertIsNone(self.codec.encodeAnswer(1, ["\ud800"], True, SIZE))

    def test_sharing(self: Any) -> None:
        """A container that comes twice is sent once, also a constant tuple; arguments and keywords share nothing."""
        both: list[Any] = [1]
        pair, many = (1, 2), {"a": both}
        for vocabulary in (True, False):
            for args, kw in (
                (((), ()), {}),
                (([(), ()],), {}),
                ((both, both, both), {}),
                ((both,), {"a": both}),
                ((both, both), {"a": both, "b": [both]}),
                (((),), {"a": ()}),
                ((many, [both], many), {}),
                # Numbers follow the order in which containers come again.
                (([both, many, pair, {"x": pair}, many, pair, both],), {}),
                (([[[both] * 40] * 40] * 40,), {}),
                (([(n, pair) for n in range(300)], *[[n] for n in range(300)]), {}),
            ):
                found = self.codec.encodeCall(b"", 1, 2, b"x", 1, args, kw, vocabulary, SIZE)
                self.assertEqual(found, stockCall((1, 2, b"x", 1, args, kw), vocabulary))
                self.assertTrue(self.same(found, vocabulary))

    def test_cycles(self: Any) -> None:
        """A cycle is written as by stock; reading it is left to stock."""
        within: list[Any] = [1]
        within += [within, (within,), {"a": within}]
        for value in (within, [within, within], {"a": (within,)}):
            found = self.codec.encodeAnswer(1, value, True, SIZE)
            self.assertEqual(found, stockBytes([b"answer", 1, jelly(value, globalSecurity)]))
            self.assertIsNone(self.codec.decodePlain(found))

    def test_sharedInKeys(self: Any) -> None:
        """
        A key in which a container comes again is left to stock: the hash of a tuple is computed anew each time, from
        all that is in it. For fifty pairs, each holding the one before twice, that takes years.
        """
        pair = (1, 2)
        value: Any
        for value in ([pair, {pair: 1}], [pair, {pair}], [pair, frozenset([(pair,)])], [pair, {((pair,),): 1}]):
            found = self.codec.encodeAnswer(1, value, True, SIZE)
            self.assertEqual(found, stockBytes([b"answer", 1, jelly(value, globalSecurity)]))
            self.assertIsNone(self.codec.decodePlain(found))
        for value in ([{pair: 1}, pair], [{pair}, pair], {pair: pair}):
            found = self.codec.encodeAnswer(1, value, True, SIZE)
            self.assertEqual(shape(self.codec.decodePlain(found)[2]), shape(value))
        deep: list[Any] = [b"tuple"]
        for number in range(60):
            deep = [b"tuple", [b"reference", number, deep], [b"dereference", number]]
        for each in ([b"dictionary", [deep, 1]], [b"list", [b"reference", 99, deep], [b"set", [b"dereference", 99]]]):
            self.assertIsNone(self.codec.decodePlain(stockBytes([b"answer", 1, each])))
        # Outside of a key it is read, unless it exceeds the limit on items when it is walked.
        self.assertIsNone(self.codec.decodePlain(stockBytes([b"answer", 1, [b"list", deep, 5]])))
        deep = [b"tuple"]
        for number in range(10):
            deep = [b"tuple", [b"reference", number, deep], [b"dereference", number]]
        self.assertEqual(self.codec.decodePlain(stockBytes([b"answer", 1, [b"list", deep, 5]]))[2][1], 5)

    def test_numbered(self: Any) -> None:
        """Wrong reference numbers are left to stock, and take no memory."""
        list1: list[Any] = [b"list", 1]
        for each in (
            [b"list", [b"dereference", 1]],
            [b"list", [b"dereference", 1], [b"reference", 1, list1]],
            [b"list", [b"reference", 1, list1], [b"reference", 1, list1]],
            [b"reference", 1, [b"list", [b"reference", 1, list1]]],
            [b"list", [b"reference", 1, list1], [b"dereference", 2]],
            [b"list", [b"reference", 1, list1], [b"dereference", 1, 1]],
            [b"list", [b"reference", 1, list1], [b"reference", 2, [b"dereference", 1]]],
            [b"reference", 1, [b"reference", 2, list1]],
            [b"reference", 1, [b"None"]],
            [b"reference", 1, 5],
            [b"reference", 1, b"x"],
            [b"reference", 1],
            [b"reference", 1, list1, list1],
            [b"reference", -1, list1],
            [b"reference", b"1", list1],
            [b"reference", 1.0, list1],
            [b"reference", 2**62, list1],
        ):
            for whole in (each, [b"list", each, 1], [b"dictionary", [1, each]]):
                self.assertIsNone(self.codec.decodePlain(stockBytes([b"answer", 1, whole])), whole)
        far = self.codec.decodePlain(stockBytes([b"answer", 1, [b"reference", 10**8, list1]]))
        self.assertIn(far, (None, ("answer", 1, [1])))
        fine = [b"list", [b"reference", 0, list1], [b"dereference", 0], [b"reference", 3, list1]]
        self.assertEqual(self.codec.decodePlain(stockBytes([b"answer", 1, fine]))[2], [[1], [1], [1]])

    def test_exactTypes(self: Any) -> None:
        """Subclasses of plain types are left to stock, and so are all other objects."""

        class Colour(enum.IntEnum):
            RED = 1

        class Text(str):
            pass

        Pair = collections.namedtuple("Pair", "a b")
        odd = [Colour.RED, Text("a"), Pair(1, 2), collections.OrderedDict(), bytearray(b"a"), decimal.Decimal(1)]
        for each in [*odd, object(), int, len, 1j, range(3), memoryview(b"a")]:
            self.assertIsNone(self.codec.encodePlain(each, True, SIZE))
            self.assertIsNone(self.codec.encodeAnswer(1, [each], True, SIZE))
            self.assertIsNone(self.codec.encodeCall(b"", 1, 2, b"x", 1, (), {"a": each}, True, SIZE))
        self.assertIsNone(self.codec.encodeAnswer(Colour.RED, 1, True, SIZE))
        self.assertIsNone(self.codec.encodeAnswer("text", 1, True, SIZE))
        self.assertIsNone(self.codec.encodeCall(b"", 1, 2, b"x", 1, [1], {}, True, SIZE))
        self.assertIsNone(self.codec.encodeCall(b"", 1, 2, b"x", 1, (), {5: object()}, True, SIZE))
        self.assertIsNone(self.codec.splice(b"", 1.5, 2, b"", True, SIZE))
        self.assertIsNone(self.codec.encodeTail(b"x", None, (), {}, True, SIZE))

    def test_tooLarge(self: Any) -> None:
        """A value that stock refuses as too large is left to stock; at the limit it is written."""
        for limit in (12, 20):
            self.patch(banana, "SIZE_LIMIT", limit)
            for n in range(limit - 2, limit + 3):
                values: list[Any] = [
                    b"x" * n,
                    "x" * n,
                    [1] * n,
                    (1,) * n,
                    set(range(n)),
                    dict.fromkeys(range(n)),
                    {"x" * n},
                ]
                calls: list[Any] = [(1, 2, b"x", 1, (value,), {"a": 1}) for value in values]
                calls += [(1, b"i" * n, b"n" * n, True, (), {"k" * n: value}) for value in values]
                for call in calls:
                    try:
                        expected = stockCall(call)
                    except BananaError:
                        expected = None
                    self.assertEqual(self.codec.encodeCall(b"", *call, True, limit), expected)
        for number, fits in ((2**70 - 1, True), (-(2**70) + 1, True), (2**70, False), (-(2**70), False)):
            self.assertEqual(self.codec.encodePlain(number, True, SIZE, 10) is not None, fits)
            self.assertEqual(self.codec.splice(b"", number, 1, b"", True, SIZE, 10) is not None, fits)

    def test_deep(self: Any) -> None:
        """A value that is too deep is left to stock, reading and writing, whatever it consists of."""
        for wrap in (lambda v: [v], lambda v: (v,), lambda v: {"a": v}, lambda v: frozenset([v])):
            value: Any = wrap(1)
            for _ in range(100):
                value = wrap(value)
            expression = jelly(value, globalSecurity)
            data = self.codec.encodeAnswer(1, value, True, SIZE)
            self.assertEqual(data, stockBytes([b"answer", 1, expression]))
            self.assertEqual(self.codec.decodePlain(data)[2], value)
            for _ in range(100):
                value = wrap(value)
            self.assertIsNone(self.codec.encodeAnswer(1, value, True, SIZE))
        head = b"\x03\x80\x1b\x87\x01\x81"
        for opening in (b"\x02\x80\x08\x87", b"\x02\x80\x0b\x87", b"\x02\x80\x03\x82set", b"\x02\x80\x05\x87\x02\x80"):
            self.assertIsNone(self.codec.decodePlain(head + opening * 100_000 + b"\x01\x81"))

    def test_doubts(self: Any) -> None:
        """Jelly that stock refuses, or that is not plain, is left to stock, without an error."""
        wrong: list[Any] = [
            [],
            [[]],
            [b"list", []],
            [b"None", 1],
            [b"unicode"],
            [b"unicode", b"\xff"],
            [b"unicode", 5],
            [b"unicode", b"a", b"b"],
            [b"boolean"],
            [b"boolean", b"maybe"],
            [b"boolean", 1],
            [b"dictionary", 5],
            [b"dictionary", [1]],
            [b"dictionary", [1, 2, 3]],
            [b"dictionary", b"ab"],
            [b"dictionary", [[b"list"], 1]],
            [b"set", [b"list"]],
            [b"frozenset", [b"dictionary"]],
            [b"tuple", [b"reference", 1, [b"list", [b"dereference", 1]]]],
            [b"dereference", 1],
            [b"remote", 1],
            [b"local", b"root"],
            [b"no.such.Class", [b"dictionary"]],
            [b"decimal", 1, 2],
            [5],
            [1.5, 2],
            [[b"list"]],
        ]
        for each in wrong:
            for word in (each, [b"list", each], [b"list", 1, each, 2], [b"dictionary", [1, each]]):
                self.assertIsNone(self.codec.decodePlain(stockBytes([b"answer", 1, word])), word)
            self.assertIsNone(self.codec.decodePlain(stockBytes([b"message", 1, 2, b"x", 1, [b"tuple"], each])))
            self.assertIsNone(self.codec.decodePlain(stockBytes([b"message", 1, 2, b"x", 1, each, [b"dictionary"]])))

    def test_otherMessages(self: Any) -> None:
        """Other messages, and calls and answers with another number of parts, are left to stock."""
        args: list[Any] = [[b"tuple"], [b"dictionary"]]
        for each in (
            [b"version", 6],
            [b"error", 1, [b"None"]],
            [b"cachemessage", 1, 2, b"x", 1, *args],
            [b"answer", 1],
            [b"answer", 1, 2, 3],
            [b"message", 1, 2, b"x", 1, [b"tuple"]],
            [b"message", 1, 2, b"x", 1, *args, 1],
            [b"message", [b"unicode", b"a"], 2, b"x", 1, *args],
            [b"message", 1, 2, 3, 1, *args],
            [b"message", 1, 2, [b"unicode", b"x"], 1, *args],
            [b"message", 1, 1.5, b"x", 1, *args],
            [b"message", 1, 1, b"x", [b"None"], *args],
            [b"message", 1, 1, b"x", [b"boolean", b"true"], *args],
            [b"message", 1, 1, b"\xff", 1, *args],
            [b"message", 1, 1, b"x", 1, 5, [b"dictionary"]],
            [b"message", 1, 1, b"x", 1, [b"set"], [b"dictionary"]],
            [b"message", 1, 1, b"x", 1, [b"tuple"], [b"tuple"]],
            [],
            b"pb",
            5,
        ):
            self.assertIsNone(self.codec.decodePlain(stockBytes(each)), each)
        self.assertIsNone(self.codec.decodePlain(b""))
        self.assertIsNone(self.codec.decodePlain(b"\x07"))

    def test_listOfArguments(self: Any) -> None:
        """Arguments that were sent as a list are a list; ids may be bytes."""
        data = stockBytes([b"message", b"id", b"root", b"x", b"", [b"list", 1], [b"dictionary"]])
        self.assertEqual(self.codec.decodePlain(data), ("message", b"id", b"root", "x", b"", [1], {}))

    def test_keys(self: Any) -> None:
        """Of equal keys the first key and the last value are kept, as in stock."""
        pairs = [[1, b"a"], [[b"boolean", b"true"], b"b"], [1.0, b"c"], [0, b"d"], [-0.0, b"e"]]
        self.assertTrue(
            self.same(stockBytes([b"message", 1, 2, b"x", 1, [b"tuple", [b"dictionary", *pairs]], [b"dictionary"]]))
        )
        self.assertTrue(
            self.same(stockBytes([b"message", 1, 2, b"x", 1, [b"tuple", [b"set", 1, 1.0, 1]], [b"dictionary"]]))
        )

    def test_collisions(self: Any) -> None:
        """A dict or set is not built if many of its keys have the same hash; a few are allowed."""
        bad = 2**61 - 1
        for few, many in ((30, 40), (33, 10_000)):
            for word in (b"set", b"frozenset", b"dictionary"):
                for keys, made in (
                    ([n * bad for n in range(few)], True),
                    ([n * bad for n in range(many)], False),
                    ([*range(1000), *(n * bad for n in range(5, many))], False),
                    ([*range(1000)], True),
                    ([float(n * 2**61) for n in range(20)] + [*range(40)], True),
                ):
                    items = [[key, 1] for key in keys] if word == b"dictionary" else keys
                    found = self.codec.decodePlain(stockBytes([b"answer", 1, [word, *items]]))
                    self.assertEqual(found is not None, made, (word, few, many))
            tuples = [[b"tuple", 1, n * bad] for n in range(many)]
            self.assertIsNone(self.codec.decodePlain(stockBytes([b"answer", 1, [b"set", *tuples]])))

    def test_numbers(self: Any) -> None:
        """Numbers at the edges between forms are the same bytes as in stock, and are read back unchanged."""
        edges = [
            0,
            1,
            127,
            128,
            129,
            16383,
            16384,
            2**21,
            2**28,
            2**31,
            2**35,
            2**56,
            2**62,
            2**63,
            2**64,
            2**70,
            2**448,
        ]
        numbers = [sign * (edge + by) for edge in edges for by in (-1, 0, 1) for sign in (1, -1) if edge + by < 2**448]
        decimals = [0.0, -0.0, math.inf, -math.inf, 1e-310, sys.float_info.max, 0.1]
        nans = [struct.unpack("!d", bits)[0] for bits in (b"\x7f\xf8" + b"\0" * 6, b"\xff\xf8" + b"\0" * 5 + b"\1")]
        args = (numbers, [*decimals, *nans], *numbers)
        data = self.codec.encodeCall(b"", 2**40, -5, b"x", 0, args, {}, True, SIZE)
        self.assertEqual(data, stockCall((2**40, -5, b"x", 0, args, {})))
        self.assertTrue(self.same(data))
        for number in numbers:
            data = stockBytes([b"answer", number, number])
            self.assertEqual(self.codec.encodeAnswer(number, number, True, SIZE), data)
            self.assertEqual(self.codec.decodePlain(data), ("answer", number, number))

    def test_longForms(self: Any) -> None:
        """Numbers that are padded are read as in stock, in a header, a length or a value."""
        for length in (b"\x03\x00", b"\x03\x00\x00\x00\x00", b"\x03" + b"\x00" * 60):
            for kind in (b"\x81", b"\x85", b"\x83"):
                value = self.codec.decodePlain(b"\x03\x80\x1b\x87" + length + kind + length + kind)
                self.assertEqual(value, ("answer", *([-3 if kind == b"\x83" else 3] * 2)))
            for text in (b"\x02\x80\x07\x82unicode" + length + b"\x82abc", length + b"\x80\x08\x87\x01\x81\x02\x81"):
                data = b"\x03\x80\x1b\x87\x01\x81" + text
                found = self.codec.decodePlain(data)
                self.assertEqual(found, ("answer", 1, stockValue(stockExpression(data)[2])))

    def test_runs(self: Any) -> None:
        """Long lists of numbers, alone, mixed, and in lists that end together, are read back unchanged."""
        rng = random.Random(5)
        for _ in range(12):
            ints = [
                rng.choice([rng.randrange(100), rng.randrange(2**31), -3, 2**40]) for _ in range(rng.randrange(200))
            ]
            value = [ints, [[[5]], *ints, "text", *ints], 7, 8, [[1] * 9, 2, 3], (*ints, 1.5)]
            data = self.codec.encodeAnswer(1, value, True, SIZE)
            self.assertEqual(data, stockBytes([b"answer", 1, jelly(value, globalSecurity)]))
            self.assertEqual(self.codec.decodePlain(data), ("answer", 1, value))
            self.assertEqual(self.messages(data * 3), [data] * 3)
            for cut in range(0, len(data), 7):
                self.assertIsNone(self.codec.decodePlain(data[:cut]))

    def test_blocks(self: Any) -> None:
        """Long lists of ints are written as by stock and read back, whatever is among the ints."""
        rng = random.Random(6)
        edges = [0, 1, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**28 - 1]
        odd: list[Any] = [-1, 2**28, 2**31, 2**32, 2**70, True, None, 1.5, "text", b"x", [1], ()]
        for size in (11, 12, 13, 39, 40, 41, 127, 255, 256, 257, 296, 297, 512, 600):
            ints = [rng.choice(edges) for _ in range(size)]
            values: list[Any] = [ints, tuple(ints), set(range(size)), [*ints, ints[:50], *ints]]
            for each in odd:
                for at in (0, size // 2, size - 1):
                    values.append([*ints[:at], each, *ints[at + 1 :]])
            for value in values:
                data = self.codec.encodeAnswer(1, value, True, SIZE)
                self.assertEqual(data, stockBytes([b"answer", 1, jelly(value, globalSecurity)]))
                for _, _, found in self.read(data + data):
                    self.assertEqual(shape(found), shape(value))
        # An int that is padded, and one without digits.
        data = stockBytes([b"answer", 1, [b"list", *[5] * 60]]).replace(b"\x05\x81\x05\x81", b"\x05\0\0\x81\x81", 1)
        self.assertEqual(self.codec.decodePlain(data), ("answer", 1, [5, 0, *[5] * 58]))
        # The limit on the digits of a number applies in a list as well.
        self.assertIsNone(self.codec.encodePlain([2**28 - 1] * 60, True, SIZE, 3))

    def test_usual(self: Any) -> None:
        """A call is read back unchanged, also where it just differs from the usual calls."""
        several: list[tuple[Any, ...]] = [(), (1,), (2, "text"), tuple(range(126)), tuple(range(127)), ([1], {}), ((),)]
        for requestID in (0, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**40, -1, b"id"):
            for objectID, answer, name in (
                (1, 1, b"x"),
                (127, 0, b"n" * 127),
                (128, 1, b"n" * 128),
                (b"root", 2, b"list"),
                (-1, b"", b""),
            ):
                for args in several:
                    for kw in ({}, {"a": 1}, {"a": [], "list": {1: 2}}):
                        data = stockCall((requestID, objectID, name, answer, args, kw))
                        expected = ("message", requestID, objectID, name.decode(), answer, args, kw)
                        self.assertEqual(self.read(data * 2), [expected] * 2)
                        self.assertEqual(self.read(data + data[:-1]), [expected])
        head = b"\x07\x80\x1a\x87\x01\x81\x01\x81\x01\x82"
        for rest in (
            b"\xff\x01\x81\x01\x80\x0b\x87\x01\x80\x05\x87",
            b"x\x01\x81\x00\x80\x0b\x87\x01\x80\x05\x87",
            b"x\x01\x81\x01\x80\x0b\x87\x01\x80\x0b\x87",
            b"x\x01\x81\x01\x80\x0b\x87\x05\x81",
        ):
            self.assertIsNone(self.codec.decodePlain(head + rest))

    def test_keysOfEveryKind(self: Any) -> None:
        """A key is read back unchanged, however often it comes, of any kind and length, in any place."""
        keys: list[Any] = ["", "k", "list", "ü" * 30, "x" * 39, "x" * 40, "x" * 41, "x" * 127, "x" * 128, "y" * 5000]
        keys += [0, 1, 2, 300, -1, 1.5, None, True, b"", b"bytes", b"list", (), (1, "k"), frozenset([2])]
        for key in keys:
            for value in (1, "", None, {2: 1}, {}):
                for made in ({key: value}, {"first": 1, key: value, "last": 2}, [{key: value}] * 1):
                    data = stockBytes([b"answer", 1, jelly(made, globalSecurity)])
                    self.assertEqual(self.codec.encodeAnswer(1, made, True, SIZE), data)
                    for found in self.read(data * 2):
                        self.assertEqual(shape(found[2]), shape(made))
                    for cut in range(len(data) - 30, len(data)):
                        self.assertIsNone(self.codec.decodePlain(data[:cut]))

        # Lengths without digits, of the key and of the value.
        pair = b"\x02\x80\x02\x80\x07\x82unicode\x82\x82"
        data = b"\x03\x80\x1b\x87\x01\x81\x03\x80\x08\x87\x02\x80\x05\x87" + pair + stockBytes(b"z" * 300)
        self.assertEqual(self.read(data), [("answer", 1, [{"": b""}, b"z" * 300])])

    def test_manyKeys(self: Any) -> None:
        """Any number of different keys is written correctly."""
        for base in (0, 5000, 0):
            value = {f"key {n}": n for n in range(base, base + 3000)}
            data = self.codec.encodeAnswer(1, value, True, SIZE)
            self.assertEqual(data, stockBytes([b"answer", 1, jelly(value, globalSecurity)]))
            self.assertEqual(self.codec.decodePlain(data), ("answer", 1, value))

    def test_changing(self: Any) -> None:
        """A value that was read belongs to the caller: no part of it is used again."""
        data = stockCall((1, 2, b"x", 1, ([], {}, {"a": []}), {}))
        first, second = self.codec.decodePlain(data), self.codec.decodePlain(data)
        first[5][0].append(1)
        first[5][2]["a"].append(1)
        first[6]["b"] = 1
        self.assertEqual(second, ("message", 1, 2, "x", 1, ([], {}, {"a": []}), {}))
        framer = self.framer()
        framer.feed(data)
        message = framer.next()
        self.codec.decodePlain(message)[5][0].append(1)
        self.assertEqual(self.codec.decodePlain(message), second)

    def test_boundsOfPlain(self: Any) -> None:
        """The limits apply to plain calls and answers as to all other messages."""
        values: list[Any] = [1, "text", None, [], [[1]], {"a": {"b": "c"}}, [[[None]]], (((),),), {1: ({2: "x"},)}]
        messages = [stockBytes([b"answer", 5, jelly(value, globalSecurity)]) for value in values]
        messages += [stockCall((5, 1, b"x", 1, (value,), {})) for value in values]
        messages += [stockCall((5, 1, b"x", 1, (), {"k": value})) for value in values]
        for data in [*messages, stockCall((5, 1, b"x", 1, (), {}))]:

            def depth(expression: Any) -> int:
                return 1 + max(map(depth, expression), default=0) if isinstance(expression, list) else 0

            def items(expression: Any) -> int:
                return 1 + sum(map(items, expression)) if isinstance(expression, list) else 1

            expression = stockExpression(data)
            least = (len(data), items(expression), depth(expression), 10)
            for at in range(4):
                for wide in (1, 50):
                    bounds = [each * wide for each in least]
                    bounds[at] = least[at]
                    self.assertEqual(self.messages(data * 2, bounds=tuple(bounds)), [data] * 2)
                    bounds[at] -= 1
                    if at < 3 and bounds[at]:
                        self.assertRaises(TooLarge, self.messages, data, bounds=tuple(bounds))


class PureTests(FramerMixin, ExpressionMixin, ValueMixin, _Case):
    """The codec in Python."""

    codec = pure

    def steps(self, size: int, chunk: int) -> int:
        """Return how many lines of the codec run for a stream of so many items of one byte, in such chunks."""
        stream = stockBytes([0] * size + [[]] * size + [b"abc"] * size)
        framer = pure.Framer(1 << 30, 1 << 30, 10, 10)
        messages = []

        def run() -> None:
            for i in range(0, len(stream), chunk):
                framer.feed(stream[i : i + chunk])
                messages.append(framer.next())

        count = self.lines(run)
        self.assertEqual(messages[-1], stream)
        return count

    def lines(self, run: Callable[[], Any]) -> int:
        """Return how many lines of the codec run."""
        count = 0

        def line(frame: FrameType, event: str, arg: object) -> Any:
            nonlocal count
            count += event == "line"
            return line

        before = sys.gettrace()
        sys.settrace(lambda frame, event, arg: line if frame.f_code.co_filename == pure.__file__ else None)
        try:
            run()
        finally:
            sys.settrace(before)
        return count

    def test_linear(self) -> None:
        """Twice the bytes take twice the steps, in small chunks and in large ones."""
        for chunk in (1, 10, 1 << 20):
            self.assertLess(self.steps(2000, chunk), 2.1 * self.steps(1000, chunk))

    def test_linearBlocks(self) -> None:
        """Twice the ints take twice the steps, also in lists of their own."""
        for make in (lambda n: [n] * n, lambda n: [[[n] * 12, n] for _ in range(n)], lambda n: [[1] * 12, *[n] * n]):
            steps = []
            for value in (make(4000), make(8000)):
                data = pure.encodeAnswer(1, value, True, SIZE)
                assert data is not None
                steps.append(self.lines(partial(pure.decodePlain, data)))
                steps.append(self.lines(partial(pure.encodeAnswer, 1, value, True, SIZE)))
            self.assertLess(steps[2], 2.1 * steps[0])
            self.assertLess(steps[3], 2.1 * steps[1])

    def test_remembersFew(self) -> None:
        """Only some of the keys that peers send are remembered, and only short ones."""
        for n in range(3000):
            data = pure.encodeAnswer(1, {f"{n} of a stranger": 1, f"{n}" * 30: 2}, True, SIZE)
            assert data is not None
            pure.decodePlain(data)
        self.assertLessEqual(len(pure._keys), 1024)
        self.assertLess(max(map(len, pure._keys)), 60)

    def test_movesNothing(self) -> None:
        """While a message arrives in small chunks, it is not copied to another buffer."""
        framer = pure.Framer(1 << 30, 1 << 30, 10, 10)
        framer.feed(stockBytes([0] * 10_000)[:10])
        framer.feed(b"\x81")
        buffer = framer._buffer
        for _ in range(5000):
            framer.feed(b"\x81")
            self.assertIsNone(framer.next())
        self.assertIs(framer._buffer, buffer)


@skipIf(core is None, "the compiled core is not built here")
class CompiledTests(FramerMixin, ExpressionMixin, ValueMixin, _Case):
    """The compiled codec."""

    codec = core

    def test_linear(self) -> None:
        """Each item is looked at once and each byte is moved a few times, in small chunks and in large ones."""
        size = 20_000
        stream = stockBytes([0] * size + [[]] * size + [b"abc"] * size)
        for chunk in (1, 10, 1000, 1 << 20):
            framer = self.framer(1 << 30, 1 << 30, 10, 10)
            for i in range(0, len(stream), chunk):
                self.assertIsNone(framer.next())
                framer.feed(stream[i : i + chunk])
            self.assertEqual(framer.next(), stream)
            looked, moved = framer._work
            # An item that is not complete at the end of a chunk is looked at again with the next.
            self.assertLessEqual(looked, 3 * size + 1 + len(stream) // chunk)
            self.assertLess(moved, 4 * len(stream))

    def test_linearUnread(self) -> None:
        """Messages that are not fetched are not moved again and again."""
        message = stockBytes([b"x" * 50])
        framer = self.framer()
        framer.feed(message * 1000)
        for _ in range(20_000):
            self.assertEqual(framer.next(), message)
            framer.feed(message)
        looked, moved = framer._work
        self.assertLessEqual(looked, 2 * 20_000)
        self.assertLess(moved, 4 * 21_000 * len(message))

    def test_leavesNothing(self) -> None:
        """However often messages are read, written and refused, no memory is lost."""
        value = [1, 2**80, -5, 1.5, "text", "ünicode", b"bytes", None, True, (1, (2,)), {"a": {1: 2}}, {1, 2}]
        many = {str(n): n for n in range(100)}
        assert core is not None
        answer = core.encodeAnswer(1, [value, many], True, SIZE)
        wrong = [answer[:cut] for cut in range(0, len(answer), 29)]
        bad = core.encodeAnswer(1, {n * (2**61 - 1) for n in range(100)}, True, SIZE)

        def once() -> None:
            assert core is not None
            for message in (answer, bad, *wrong):
                core.decodePlain(message)
                framer = core.Framer(10_000, 1000, 10, 100)
                try:
                    for part in (message[:50], message[50:] + message):
                        framer.feed(part)
                        framer.next()
                    core.decode(message)
                except (Malformed, TooLarge):
                    pass
            for each in (value, [value, value], [object()], many, "\ud800", 2**500):
                core.encodeCall(b"", 1, 2, "x", 1, (each,), {}, True, SIZE)
                core.encodePlain(each, True, 5)
            for kind in (b"\x05\xff", b"\x7f" * 70):
                framer = core.Framer(10, 10, 10, 10)
                framer.feed(kind)
                self.assertRaises(ValueError, framer.next)
            core.encode([value[:4], (), [b"list"]], True, SIZE)

        # Python allocates what it caches in the first rounds. After that the memory must not grow.
        for _ in range(3):
            once()
        gc.collect()
        tracemalloc.start()
        try:
            once()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(20):
                once()
            gc.collect()
            self.assertLess(tracemalloc.get_traced_memory()[0] - before, 5000)
        finally:
            tracemalloc.stop()


class ChoiceTests(SynchronousTestCase):
    """Which of the two codecs is used."""

    def test_choice(self) -> None:
        """The compiled codec is used if it was built, unless the environment says otherwise; `compiled` says so."""
        wanted = core is not None and os.environ.get("PBKIT_PURE", "") in ("", "0")
        self.assertIs(codec.compiled, wanted)
        for name in codec.__all__:
            if name not in ("compiled", "TooLarge", "Malformed"):
                self.assertIs(getattr(codec, name), getattr(core if wanted else pure, name))

    def test_pure(self) -> None:
        """PBKIT_PURE selects the codec in Python; 0 and the empty string do not."""
        for value, wanted in (("1", True), ("yes", True), ("0", core is None), ("", core is None)):
            self.patch(os, "environ", {"PBKIT_PURE": value})
            self.assertIs(codec._chosen() is pure, wanted)

    def test_errors(self) -> None:
        """The errors name the limit, are ValueErrors, and can be pickled."""
        for which in TooLarge.texts:
            error = TooLarge(which, 1234)
            self.assertIn("1234", str(error))
            again = pickle.loads(pickle.dumps(error))
            self.assertEqual((again.which, again.bound, str(again)), (which, 1234, str(error)))
            self.assertIsInstance(error, ValueError)
        self.assertIsInstance(Malformed("x"), ValueError)

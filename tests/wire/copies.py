"""
Objects that the tests of jelly send: Copyable and Cacheable classes, and raw messages of a hostile client.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.spread import pb

from tests.wire.things import WireCase

P = 2**61 - 1  #: Multiples of this number have the hash 0.


class Card(pb.Copyable):
    """A Copyable whose attributes the test chooses."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class CardCopy(pb.RemoteCopy):
    """The copy of a `Card`, which records that it was made."""

    made: list[CardCopy] = []
    suit = "none"

    def setCopyableState(self, state: Any) -> None:
        """Record the call, and set the state as stock does."""
        super().setCopyableState(state)
        self.made.append(self)

    def colour(self) -> str:
        """Return a value. A state must not hide this method."""
        return "red"


class Plain(pb.Copyable):
    """Another Copyable."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class PlainCopy(pb.RemoteCopy):
    """The copy of a `Plain`, which overrides nothing of stock's."""

    number = 0
    numbers = ()

    def double(self) -> int:
        """Something that may be hidden."""
        return 2 * self.number

    @property
    def half(self) -> float:
        """A property that a state must not hide."""
        return self.number / 2


pb.setUnjellyableForClass(Card, CardCopy)
pb.setUnjellyableForClass(Plain, PlainCopy)

CARD, PLAIN, BOARD = (f"tests.wire.{name}".encode() for name in ("copies.Card", "copies.Plain", "things.Board"))


def text(value: str) -> list[Any]:
    """Return a str as jelly."""
    return [b"unicode", value.encode()]


def state(**items: Any) -> list[Any]:
    """Return a dictionary with text keys as jelly."""
    return [b"dictionary", *([text(name), value] for name, value in items.items())]


class RawCase(WireCase):
    """A client that can send anything."""

    def raw(self, reference: Any, method: bytes, *args: Any, kw: Any = (b"dictionary",)) -> Deferred[Any]:
        """
        Call a method with arguments that are already jelly.

        :return: a Deferred of the server's answer.
        """
        client = self.wire.client
        requestID = client.newRequestID()
        answer: Deferred[Any] = Deferred()
        client.waitingForAnswers[requestID] = answer
        client.sendCall(b"message", requestID, reference.luid, method, 1, [b"tuple", *args], list(kw))
        self.wire.flush()
        return answer

    def released(self) -> list[Any]:
        """
        Return a list that collects the ids that the server releases from now on.
        """
        luids: list[Any] = []
        self.wire.client.proto_decref = luids.append
        self.wire.client.proto_decache = luids.append
        return luids

    def assertRefused(self, answer: Deferred[Any], kind: type[Exception], says: str = "") -> str:
        """
        Assert that the answer is an error of a class, that the connection is kept, and that there is no traceback.

        :return: the text of the error.
        """
        failure: Any = self.failureResultOf(answer)
        self.assertEqual(failure.type, f"{kind.__module__}.{kind.__name__}".encode())
        self.assertIn(says, failure.value)
        self.assertFalse(self.wire.server.disconnected)
        self.assertEqual(self.flushLoggedErrors(), [])
        return str(failure.value)

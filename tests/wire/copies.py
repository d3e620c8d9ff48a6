"""
What the tests of jelly send: Copyable and Cacheable classes, and the raw messages of a client that is not nice.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.spread import pb

from tests.wire.things import WireCase

P = 2**61 - 1  #: Multiples of it have the hash 0.


class Card(pb.Copyable):
    """Sent as a copy; its attributes are what a test gives."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class CardCopy(pb.RemoteCopy):
    """What is made of a `Card`. Writes down that it was."""

    made: list[CardCopy] = []
    suit = "none"

    def setCopyableState(self, state: Any) -> None:
        """As stock's."""
        super().setCopyableState(state)
        self.made.append(self)

    def colour(self) -> str:
        """Something that may be hidden."""
        return "red"


class Plain(pb.Copyable):
    """Another one."""

    def __init__(self, **state: Any) -> None:
        self.__dict__.update(state)


class PlainCopy(pb.RemoteCopy):
    """What is made of a `Plain`: nothing of stock's is overridden."""

    number = 0
    numbers = ()

    def double(self) -> int:
        """Something that may be hidden."""
        return 2 * self.number

    @property
    def half(self) -> float:
        """A property that may be."""
        return self.number / 2


pb.setUnjellyableForClass(Card, CardCopy)
pb.setUnjellyableForClass(Plain, PlainCopy)

CARD, PLAIN, BOARD = (f"tests.wire.{name}".encode() for name in ("copies.Card", "copies.Plain", "things.Board"))


def text(value: str) -> list[Any]:
    """A str in jelly."""
    return [b"unicode", value.encode()]


def state(**items: Any) -> list[Any]:
    """A dictionary in jelly, of keys that are text."""
    return [b"dictionary", *([text(name), value] for name, value in items.items())]


class RawCase(WireCase):
    """A client that sends what it likes."""

    def raw(self, reference: Any, method: bytes, *args: Any, kw: Any = (b"dictionary",)) -> Deferred[Any]:
        """
        Call a method with arguments that are in jelly.

        :return: a Deferred of what the server answers.
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
        :return: the ids that the server gives back from now on.
        """
        luids: list[Any] = []
        self.wire.client.proto_decref = luids.append
        self.wire.client.proto_decache = luids.append
        return luids

    def assertRefused(self, answer: Deferred[Any], kind: type[Exception], says: str = "") -> str:
        """
        The answer is an error of this class, the connection is kept, and there is no traceback.

        :return: its text.
        """
        failure: Any = self.failureResultOf(answer)
        self.assertEqual(failure.type, f"{kind.__module__}.{kind.__name__}".encode())
        self.assertIn(says, failure.value)
        self.assertFalse(self.wire.server.disconnected)
        self.assertEqual(self.flushLoggedErrors(), [])
        return str(failure.value)

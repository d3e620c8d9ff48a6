"""What to do with a message for a slow consumer: pure decisions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from pbkit import coalesce, dropOldest, kickAfter
from pbkit.sessions.messaging.slowpolicy import Drop, Kick, Message, Wait


class Waits:
    """
    What is queued, as a policy sees it.

    :param sizes: the sizes of the messages that may be dropped, oldest first.
    :param kept: the sizes of the others.
    """

    def __init__(self, sizes: list[int], kept: tuple[int, ...] = (), **keys: int) -> None:
        self._sizes = sizes
        self._keys = keys
        self.messages = len(sizes) + len(kept)
        self.bytes = sum(sizes) + sum(kept)

    def keyed(self, key: Any) -> int | None:
        """Look up a key."""
        return self._sizes[self._keys[key]] if key in self._keys else None

    def droppable(self, key: Any = None) -> Iterator[int]:
        """List the sizes, except for one."""
        return (size for index, size in enumerate(self._sizes) if index != self._keys.get(key, -1))


def message(size: int, method: str = "price", *args: Any) -> Message:
    """Return a message of some size."""
    return Message(method, args, {}, size)


class PolicyTests(SynchronousTestCase):
    """The policies, one decision at a time."""

    def test_dropOldest(self) -> None:
        """
        While there is room a message is queued; then the oldest are dropped, as many as make room, by number and by
        size.
        """
        policy = dropOldest(3, 100)
        self.assertEqual(policy(Waits([]), message(100)), Wait())
        self.assertEqual(policy(Waits([40, 40]), message(20)), Wait())
        self.assertEqual(policy(Waits([1, 1, 1]), message(1)), Wait(1))
        self.assertEqual(policy(Waits([40, 40, 20]), message(70)), Wait(2))
        self.assertEqual(policy(Waits([40, 40, 20]), message(100)), Wait(3))

    def test_tooLargeForAnyRoom(self) -> None:
        """A message that is larger than the limit is dropped, and no other is dropped for it."""
        for policy in (dropOldest(3, 100), coalesce("k", 3, 100)):
            self.assertEqual(policy(Waits([1, 1]), message(101)), Drop())

    def test_noneGoesForNothing(self) -> None:
        """If the messages that may not be dropped take all the room, the new one is dropped and the others stay."""
        self.assertEqual(dropOldest(3, 100)(Waits([5], (1, 1)), message(1)), Wait(1))
        self.assertEqual(dropOldest(3, 100)(Waits([], (1, 1, 1)), message(1)), Drop())
        self.assertEqual(dropOldest(3, 100)(Waits([5], (1, 60)), message(50)), Drop())

    def test_coalesce(self) -> None:
        """The message of the same key is dropped and makes room; others only if that is not enough."""
        policy = coalesce("k", 3, 100)
        self.assertEqual(policy(Waits([1, 1]), message(1)), Wait(0, "k"))
        self.assertEqual(policy(Waits([1, 1, 1], k=1), message(1)), Wait(0, "k"))
        self.assertEqual(policy(Waits([1, 1, 1]), message(1)), Wait(1, "k"))
        self.assertEqual(policy(Waits([40, 20, 40], k=1), message(20)), Wait(0, "k"))
        self.assertEqual(policy(Waits([40, 20, 40], k=1), message(21)), Wait(1, "k"))
        self.assertEqual(policy(Waits([40, 20, 40], k=0), message(90)), Wait(2, "k"))

    def test_keysOfCoalesce(self) -> None:
        """A key is a value, what a callable returns, or the name of the method."""
        symbol = coalesce(lambda method, symbol, price: (method, symbol))
        self.assertEqual(symbol(Waits([]), message(1, "price", "ACME", 12)), Wait(0, ("price", "ACME")))
        self.assertEqual(coalesce()(Waits([]), message(1)), Wait(0, "price"))
        self.assertEqual(coalesce(7)(Waits([]), message(1)), Wait(0, 7))

    def test_kickAfter(self) -> None:
        """All messages are queued and not dropped for others, until the time is up or there is no room."""
        policy = kickAfter(30, 3, 100)
        self.assertEqual(policy(Waits([], (1, 1)), message(98)), Wait(0, None, True, 30))
        self.assertEqual(policy(Waits([], (1, 1, 1)), message(1)), Kick())
        self.assertEqual(policy(Waits([], (1,)), message(100)), Kick())
        # A message of another policy may still be dropped.
        self.assertEqual(policy(Waits([50], (1, 1)), message(1)), Wait(1, None, True, 30))

    def test_badBounds(self) -> None:
        """A limit that lets no message wait is refused when the policy is made."""
        for bad in (0, -1, float("nan")):
            self.assertRaises(ValueError, dropOldest, bad)
            self.assertRaises(ValueError, coalesce, "k", 1, bad)
            self.assertRaises(ValueError, kickAfter, bad)

    def test_plainValues(self) -> None:
        """Policies can be compared and shown."""
        self.assertEqual(dropOldest(5), dropOldest(5))
        self.assertNotEqual(dropOldest(5), dropOldest(6))
        self.assertEqual(repr(kickAfter(30)), "KickAfter(seconds=30, messages=10000, bytes=8388608)")

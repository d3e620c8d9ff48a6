"""What a jelly expression holds, found without building it."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

from twisted.spread import pb
from twisted.spread.jelly import jelly
from twisted.trial.unittest import SynchronousTestCase

from pbkit.wire.channel import Channel
from pbkit.wire.jelly.expressions import handles
from tests.support import Part
from tests.wire.things import Board, WireCase


def remotes(sexp: Any) -> list[int]:
    """Return the ids of the references."""
    return handles(sexp)[0]


class Parcel(pb.Copyable):
    """Holds something."""

    def __init__(self, content: Any) -> None:
        self.content = content


class RemotesTests(WireCase):
    """`handles`, on what stock's jelly makes."""

    def jelly(self, thing: Any) -> tuple[Any, Channel]:
        """Return an object in jelly, and the channel that it is for."""
        channel = self.wire.server.openChannel()
        return channel.serialize(thing), channel

    def test_wherever(self) -> None:
        """References and Cacheables are found wherever stock sends them, as often as they are counted."""
        part, other = Part(), Part()
        shared = [part]
        things: list[Any] = [
            part,
            [part, other],
            (part, (other, [part])),
            {"a": part, 5: {"b": other}},
            {("a", 1): [part]},
            {part: other},
            frozenset([part]),
            {part, other},
            Parcel(part),
            [Parcel([Parcel(part), other]), part],
            Board(),
            [self.board, self.board, Parcel(self.board), part],
            {"a": self.board, "b": [Board(), part]},
            [shared, shared, [shared]],
            ["x", b"remote", ["remote", 5], [b"remote", 5], None, True, 1.5, 2**70, "ü"],
            {b"remote": 5, "remote": 6},
            [datetime.datetime(2020, 1, 1), datetime.timedelta(1), decimal.Decimal("1.5"), part],
        ]
        for thing in things:
            sexp, channel = self.jelly(thing)
            counted = [
                [luid for luid, local in table.items() for _ in range(local.refcount)]
                for table in (channel.localObjects, channel.remotelyCachedObjects)
            ]
            self.assertEqual([sorted(ids) for ids in handles(sexp)], counted, thing)

    def test_whatIsOnlyData(self) -> None:
        """An item of a dict, or bytes in a list, that look like a reference are not found."""
        self.assertEqual(handles([b"dictionary", [b"remote", 5]]), ([], []))
        self.assertEqual(handles(jelly([b"remote", 5])), ([], []))
        for number in ("5", "-15", "1.5", "0", "5e10"):
            self.assertEqual(handles(jelly([decimal.Decimal(number)])), ([], []), number)

    def test_whatIsNoJelly(self) -> None:
        """Nothing is raised, whatever a peer sends."""
        stranger: list[Any] = [None, 5, b"remote", [], [[]], [b"remote"], [b"remote", b"x"], [b"remote", 1, 2], [5, 6]]
        for strange in stranger:
            self.assertEqual(handles(strange), ([], []))
        self.assertEqual(handles([b"dictionary", 5, [b"remote"], []]), ([], []))

    def test_deep(self) -> None:
        """Any depth is searched, without recursion."""
        sexp: Any = [b"remote", 7]
        for _ in range(100_000):
            sexp = [b"list", sexp]
        self.assertEqual(handles(sexp), ([7], []))


class PlainTests(SynchronousTestCase):
    """Without a wire."""

    def test_asOftenAsThere(self) -> None:
        """Each reference is found as often as it occurs, because it was counted as often."""
        self.assertEqual(
            sorted(remotes([b"list", [b"remote", 5], [b"tuple", [b"remote", 5], [b"remote", 6]]])), [5, 5, 6]
        )

"""Invariants of the tables of a connection, after any sequence of operations."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.spread import pb

from pbkit.errors import Kicked
from tests.support import Client
from tests.wire.things import Board, WireCase

#: What each kind of thing can be asked, and the kind of what it gives.
CALLS: dict[str, dict[str, str]] = {
    "avatar": {"deep": "deep", "seen": "seen", "board": "copy", "whoami": "", "wait": "copy", "drop": ""},
    "deep": {"deeper": "deep", "self": "deep"},
    "seen": {"deeper": "seen", "deep": "deep"},
    "copy": {},
}
WAYS = ("login", "let go", "end", "answer", "tell", "call", "call", "call", "call")


class World:
    """
    One connection with any number of sessions on it.

    :param case: has the connection.
    :ivar held: what the client holds: (reference or copy, its kind, session it was got through).
    """

    def __init__(self, case: WireCase) -> None:
        self.case = case
        self.wire, self.realm, self.board = case.wire, case.realm, case.board
        self.held: list[tuple[Any, str, Any]] = []
        self.sessions: list[Any] = []
        self.waiting: list[tuple[Any, Any, Any]] = []
        self.minds: list[Any] = []
        self.boardOfClient = Board()

    def step(self, way: str, n: int) -> None:
        """Do one operation; `n` picks its object."""
        if way == "login":
            mind = Client()
            avatar, session = self.case.login(("alice", "bob")[n % 2], mind=mind)
            self.minds.append(mind)
            self.sessions.append(session)
            self.held.append((avatar, "avatar", session))
        elif way == "let go" and self.held:
            del self.held[n % len(self.held)]
        elif way == "end":
            self.sessions[n % len(self.sessions)].end(Kicked)
        elif way == "answer" and self.waiting:
            self.answer(*self.waiting.pop(n % len(self.waiting)))
        elif way == "tell":
            session = self.sessions[n % len(self.sessions)]
            told = session.mind.callRemote("tell", self.board, session.avatar.deep)
            told.addErrback(lambda _: None)
            self.wire.flush()
            for mind in self.minds:
                mind.told.clear()
        elif way == "call" and self.held:
            thing, kind, session = self.held[n % len(self.held)]
            calls = CALLS[kind]
            if calls:
                method = sorted(calls)[n // len(self.held) % len(calls)]
                self.call(thing, method, calls[method], session, [Client(), self.boardOfClient])

    def answer(self, d: Any, late: Any, session: Any) -> None:
        """Let a waiting method answer."""
        late.callback(self.board)
        self.wire.flush()
        self.took(d, "copy", session)

    def call(self, thing: Any, method: str, gives: str, session: Any, extras: list[Any]) -> None:
        """Call one of the references that are held."""
        ended = session.endedWith is not None
        d = self.wire.call(thing, method, *(extras if method == "drop" else []))
        if method == "wait" and not ended:
            self.waiting.append((d, session.avatar.waiting.pop(), session))
        else:
            self.case.assertEqual(self.took(d, gives, session), not ended)

    def took(self, d: Any, gives: str, session: Any) -> bool:
        """Keep an answer; return False if it says that the session has ended. Any other error fails the test."""
        got: list[Any] = []
        d.addBoth(got.append)
        self.case.assertEqual(len(got), 1)
        if isinstance(got[0], pb.CopiedFailure):
            self.case.assertTrue(got[0].check(Kicked), got[0].type)
            self.case.assertIs(type(session.endedWith), Kicked)
            return False
        if gives:
            self.held.append((got[0], gives, session))
        return True

    def rest(self) -> None:
        """Let everything that is out of use be given back."""
        self.case.flushLoggedErrors()
        for _ in range(3):
            gc.collect(0)
            self.wire.flush()

    def check(self) -> None:
        """Check the invariants at rest."""
        server = self.wire.server
        owned: Counter[int] = Counter()
        for channel in server._channels:
            luids = {**channel.localObjects, **channel.remotelyCachedObjects}
            for luid, local in luids.items():
                self.case.assertIs(server.owners[luid], channel)
                owned[luid] += local.refcount
            self.case.assertEqual(
                {luid: puid for puid, luid in channel.luids.items()}.keys(), channel.localObjects.keys()
            )
        self.case.assertEqual(set(server.owners), set(owned))
        self.case.assertEqual(set(server.owners) & set(server._tombstones), set())
        owned.update({luid: references for luid, (_, references) in server._tombstones.items()})
        held = Counter(thing.luid for thing, _, _ in self.held)
        if not self.waiting:
            self.case.assertEqual(owned, held)
        for session in self.sessions:
            if session.endedWith is None:
                self.case.assertIn(session, list(self.realm.roster))
            else:
                self.case.assertNotIn(session, list(self.realm.roster))


class InvariantTests(WireCase):
    """Any interleaving of logins, calls of each kind, releases and ends."""

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(st.sampled_from(WAYS), st.integers(0, 30)), max_size=40))
    def test_tables(self, steps: list[tuple[str, int]]) -> None:
        """
        After each step the connection's tables are the disjoint union of its sessions' and of what ended ones left;
        each count is that of the references that the client holds; a call is refused as ended if and only if its
        session has ended; and when the client has dropped all, every table at either end is empty.
        """
        self.setUp()
        world = World(self)
        world.step("login", 0)
        for way, n in steps:
            world.step(way, n)
            world.rest()
            world.check()
        while world.waiting:
            world.answer(*world.waiting.pop())
        world.held.clear()
        world.rest()
        self.flushLoggedErrors()
        world.check()
        self.assertEmpty(world.wire.server)
        self.assertEqual(world.wire.client.locallyCachedObjects, {})
        for session in world.sessions:
            self.assertIsNotNone(session.endedWith)

"""Topics: named groups of sessions."""

from __future__ import annotations

import gc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from pbkit import AnonymousRealm, CachingRealm, Summary, Topic, errors
from pbkit.sessions.messaging.topics import TOPICS
from tests.sessions.messaging.test_telling import Everybody
from tests.support import Recorder, enter


class TopicTests(Everybody):
    """`Realm.topic`."""

    def test_joinAndLeave(self) -> None:
        """
        Members are told, and sessions that have left are not. A second join or leave does nothing, and returns False.
        """
        one, two = self.enter(), self.enter("bob")
        room = self.realm.topic("room/7")
        self.assertEqual([room.join(one), room.join(two), room.join(one)], [True, True, False])
        self.assertEqual((room.members, len(room), one in room, [*room]), ((one, two), 2, True, [one, two]))
        self.assertEqual(self.successResultOf(room.tell("tell", 1)), Summary(sent=2))
        self.assertEqual([room.leave(one), room.leave(one)], [True, False])
        self.assertEqual(self.successResultOf(self.realm.topic("room/7").tell("tell", 2)), Summary(sent=1))
        self.assertEqual(self.successResultOf(room.tell("tell", 3, except_=two)), Summary())
        self.assertEqual(self.heard(), [[1], [1, 2]])
        self.assertEqual((one.topics, two.topics), ((), ("room/7",)))

    def test_endLeavesAll(self) -> None:
        """A session that ends leaves all of its topics before its avatar is told; an ended session joins none."""
        session, other = self.enter(), self.enter("bob")
        for n in range(5):
            self.realm.topic(f"room/{n}").join(session)
        self.realm.topic("room/3").join(other)
        self.assertEqual(session.topics, tuple(f"room/{n}" for n in range(5)))
        seen: list[Any] = []
        session.avatar.detached = lambda session: seen.append((session.topics, self.realm.topic("room/3").members))
        session.end()
        self.assertEqual(seen, [((), (other,))])
        self.assertFalse(self.realm.topic("room/1").join(session))
        self.assertEqual([*self.realm.hub.topics], ["room/3"])

    def test_refusedLoginLeaves(self) -> None:
        """A session that joins in `attached`, and whose login then fails, is in no topic."""

        class Shy(Recorder):
            """An avatar that joins, and refuses."""

            def attached(avatar, session: Any) -> None:
                """Join, and refuse."""
                self.realm.topic("room").join(session)
                self.realm.presence.watch(session)
                raise errors.LoginRefused("no")

        self.begin(CachingRealm(Shy, clock=self.clock))
        self.failureResultOf(enter(self.realm), errors.LoginRefused)
        self.assertEqual(len(self.realm.hub.topics), 0)

    def test_emptyOnesAreForgotten(self) -> None:
        """Nothing is kept of a topic without members, however many names were used; an old object can still be used."""
        session = self.enter()
        room = self.realm.topic("room")
        room.join(session)
        room.leave(session)
        for n in range(1000):
            self.realm.topic(f"room/{n}").tell("tell", n)
        self.assertEqual((len(self.realm.hub.topics), room.members, bool(room)), (0, (), True))
        gc.collect()
        self.assertEqual([one for one in gc.get_objects() if type(one) is Topic], [room])
        self.realm.topic("room").join(session)
        self.assertEqual(room.members, (session,))

    def test_badNames(self) -> None:
        """
        A name is a str of 1 to 256 characters. As clients often choose it, the error is sent to them, in one line.
        """
        bad: Any
        for bad in ("", "x" * 257, b"room", None, 7, ["room"]):
            self.assertRaises(errors.Error, self.realm.topic, bad)
        self.assertEqual(self.realm.topic("x" * 256).name, "x" * 256)

    def test_aThousandEach(self) -> None:
        """One session can be in a thousand topics, whatever its client asks for; other sessions are not affected."""
        session = self.enter()
        for n in range(TOPICS):
            self.realm.topic(f"room/{n}").join(session)
        self.assertRaises(errors.Error, self.realm.topic("one more").join, session)
        self.assertEqual(len(self.realm.hub.topics), TOPICS)
        self.realm.topic("room/0").leave(session)
        self.assertTrue(self.realm.topic("one more").join(session))

    def test_ofAnotherRealm(self) -> None:
        """A session of another realm cannot join; a guest of this one can."""
        self.begin(CachingRealm(Recorder, clock=self.clock, anonymous=AnonymousRealm(Recorder)))
        guest = self.enter(None)
        self.assertTrue(self.realm.topic("room").join(guest))
        stranger = self.successResultOf(enter(CachingRealm(Recorder, clock=Clock())))
        self.assertRaises(ValueError, self.realm.topic("room").join, stranger)
        self.assertEqual(self.realm.topic("room").members, (guest,))

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.tuples(st.sampled_from(["join", "leave", "end", "tell"]), st.integers(0, 4), st.integers(0, 2))))
    def test_likeSets(self, steps: list[tuple[str, int, int]]) -> None:
        """
        Whatever sessions join, leave and end: each topic has the members of a plain dict, and nothing else is kept.
        """
        realm = CachingRealm(Recorder, clock=Clock())
        sessions = [self.successResultOf(enter(realm, f"user{n}")) for n in range(5)]
        model: list[dict[Any, None]] = [{}, {}, {}]
        for what, who, where in steps:
            session, topic = sessions[who], realm.topic(f"room/{where}")
            if what == "join":
                new = session.endedWith is None and session not in model[where]
                self.assertEqual(topic.join(session), new)
                if new:
                    model[where][session] = None
            elif what == "leave":
                self.assertEqual(topic.leave(session), session in model[where])
                model[where].pop(session, None)
            elif what == "end":
                session.end()
                for members in model:
                    members.pop(session, None)
            else:
                self.assertEqual(sum((*self.successResultOf(topic.tell("tell")),)), len(model[where]))
            for n, members in enumerate(model):
                self.assertEqual(realm.topic(f"room/{n}").members, tuple(members))
            self.assertEqual(len(realm.hub.topics), sum(map(bool, model)))
            for one in sessions:
                self.assertEqual(one.topics, tuple(f"room/{n}" for n, members in enumerate(model) if one in members))

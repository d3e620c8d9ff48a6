"""Admission policies: pure decisions."""

from __future__ import annotations

from typing import Any, cast

import attrs
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Admit, Avatar, Probe, Refuse, Roster, Session, allOf, atMost, kick, perAvatar, perPeer, probe, total
from pbkit.errors import ConfigError, TooManySessions
from pbkit.sessions.login.admission import Decision, Policy
from pbkit.sessions.roster import Candidate, Place


class AdmissionTests(SynchronousTestCase):
    """Policies, asked about a roster."""

    def setUp(self) -> None:
        """Make an empty roster."""
        self.roster: Roster[Session] = Roster()

    def live(self, avatarId: str = "alice", peerId: str = "p1", ending: tuple[Place, ...] = ()) -> Place:
        """Add the place of a live session."""
        place = self.roster.reserve(avatarId, peerId, ending)
        self.roster.begin(place, Session(avatarId, Avatar(avatarId), None, None, None, lambda _: None))
        place.settle()
        return place

    def ask(self, policy: Policy, avatarId: str = "alice", peerId: str = "p1", **kw: Any) -> Decision:
        """Return the decision about a candidate. Asking twice gives the same."""
        candidate = Candidate(avatarId, peerId, **kw)
        decision = policy(self.roster.view, candidate)
        self.assertEqual(str(policy(self.roster.view, candidate)), str(decision))
        return decision

    def assertRefused(self, decision: Decision, text: str) -> None:
        """Assert that a decision is a refusal with a text."""
        self.assertIsInstance(decision, Refuse)
        error = cast(Refuse, decision).error
        self.assertIsInstance(error, TooManySessions)
        self.assertEqual(str(error), text)

    def test_belowTheLimit(self) -> None:
        """Below the limit, logins are admitted and no session ends."""
        policy = perAvatar(atMost(2))
        self.assertEqual(self.ask(policy), Admit())
        self.live()
        self.assertEqual(self.ask(policy), Admit())

    def test_messagesStandAlone(self) -> None:
        """A refusal names the user, the number of sessions and the limit."""
        for _ in range(3):
            self.live()
        self.assertRefused(self.ask(perAvatar(atMost(3))), "alice has 3 of 3 connections")
        self.assertRefused(self.ask(perPeer(atMost(3))), "this connection has 3 of 3 sessions")
        self.assertRefused(self.ask(total(atMost(3))), "the server has 3 of 3 connections")

    def test_groupsAreApart(self) -> None:
        """Sessions of other users, or on other connections, do not count."""
        self.live("alice", "p1")
        self.assertEqual(self.ask(perAvatar(atMost(1)), "bob", "p1"), Admit())
        self.assertEqual(self.ask(perPeer(atMost(1)), "alice", "p2"), Admit())
        self.assertIsInstance(self.ask(total(atMost(1)), "bob", "p2"), Refuse)

    def test_unknownPeer(self) -> None:
        """Sessions without a known connection are not counted together."""
        self.live("alice", "")
        self.assertEqual(self.ask(perPeer(atMost(1)), "bob", ""), Admit())

    def test_pendingCounts(self) -> None:
        """A pending login counts."""
        self.roster.reserve("alice", "p1")
        self.assertIsInstance(self.ask(perAvatar(atMost(1))), Refuse)

    def test_limitOfZero(self) -> None:
        """A limit of 0 refuses all logins, with any conflict rule."""
        for conflict in ("refuse", "kick", "probe"):
            self.assertRefused(self.ask(perAvatar(atMost(0, conflict))), "alice has 0 of 0 connections")

    def test_badLimits(self) -> None:
        """A limit must be an integer of at least 0, and a conflict rule one of three names or a callable."""
        for limit in (-1, 1.5, "3", None):
            self.assertRaises(ConfigError, atMost, limit)
        error = self.assertRaises(ConfigError, atMost, 1, "push")
        self.assertIn("refuse, kick, probe", str(error))

    def test_kickTakesTheOldest(self) -> None:
        """Kick admits the login and ends as many of the oldest sessions as necessary."""
        first, second, third = self.live(), self.live(), self.live()
        self.assertEqual(self.ask(perAvatar(atMost(3, "kick"))), Admit((first,)))
        self.assertEqual(self.ask(perAvatar(atMost(1, "kick"))), Admit((first, second, third)))

    def test_kickSkipsEndingSessions(self) -> None:
        """A session that another login will replace is not chosen again."""
        first, second = self.live(), self.live()
        self.roster.reserve("alice", "p2", (first,))
        self.assertEqual(self.ask(perAvatar(atMost(2, "kick"))), Admit((second,)))

    def test_kickTakesTheVictim(self) -> None:
        """A function can choose another session than the oldest. It is called until enough are chosen."""
        first, second, third = self.live(), self.live(), self.live()
        seen: list[tuple[Place, ...]] = []

        def youngest(places: tuple[Place, ...]) -> Place:
            seen.append(places)
            return places[-1]

        self.assertEqual(self.ask(perAvatar(atMost(3, kick(youngest)))), Admit((third,)))
        del seen[:]
        policy = perAvatar(atMost(2, kick(youngest)))
        self.assertEqual(policy(self.roster.view, Candidate("alice")), Admit((third, second)))
        self.assertEqual(seen, [(first, second, third), (first, second)])

    def test_severalVictims(self) -> None:
        """The function may choose several sessions, even too many. If it chooses none, the login is refused."""
        places = (self.live(), self.live(), self.live())
        self.assertEqual(self.ask(perAvatar(atMost(3, kick(lambda places: places)))), Admit(places))
        self.assertEqual(self.ask(perAvatar(atMost(3, kick(lambda places: iter(places[1:]))))), Admit(places[1:]))
        self.assertRefused(self.ask(perAvatar(atMost(3, kick(lambda places: ())))), "alice has 3 of 3 connections")

    def test_invalidVictims(self) -> None:
        """Choosing a session that was not offered is an error; sessions that are ending are not offered."""
        first, second, stranger = self.live(), self.live(), self.live("bob")
        policy = perAvatar(atMost(2, kick(lambda places: stranger)))
        self.assertRaises(ValueError, policy, self.roster.view, Candidate("alice"))
        self.assertEqual(
            self.ask(allOf(perAvatar(atMost(2, "kick")), perAvatar(atMost(1, kick(lambda places: places[0]))))),
            Admit((first, second)),
        )

    def test_noVictims(self) -> None:
        """A limit of 0 refuses all logins without calling the function."""
        self.assertRefused(
            self.ask(perAvatar(atMost(0, kick(lambda places: places[0])))), "alice has 0 of 0 connections"
        )

    def test_limitByUser(self) -> None:
        """A limit can be a function of the avatar id that may also return the conflict rule."""
        policy = perAvatar(atMost(lambda avatarId: (2, "kick") if avatarId == "alice" else 1))
        first = self.live()
        self.assertEqual(self.ask(policy), Admit())
        self.live()
        self.assertEqual(self.ask(policy), Admit((first,)))
        self.live("bob")
        self.assertRefused(self.ask(policy, "bob"), "bob has 1 of 1 connections")
        probing = perAvatar(atMost(lambda avatarId: (1, probe(2.0))))
        self.assertIsInstance(self.ask(probing, "bob"), Probe)

    def test_invalidLimitByUser(self) -> None:
        """The result of such a function is checked: an invalid limit admits nobody."""
        said: dict[str, Any] = {}
        policy = perAvatar(atMost(lambda avatarId: said[avatarId]))
        odd: Any
        for odd in (None, "3", -1, 1.5, True, (1,), (1, "push"), (1, 2), (1, "kick", 3)):
            said["alice"] = odd
            self.assertRaises(ConfigError, policy, self.roster.view, Candidate("alice"))

    def test_handover(self) -> None:
        """A rule sets the handover of each admission; `allOf` of several is "after" if one is."""
        after = perAvatar(atMost(1, "kick", "after"))
        self.assertEqual(self.ask(after), Admit((), "after"))
        first = self.live()
        self.assertEqual(self.ask(after), Admit((first,), "after"))
        self.assertEqual(self.ask(allOf(total(atMost(9)), after)), Admit((first,), "after"))
        self.assertEqual(self.ask(allOf(after, total(atMost(9)))), Admit((first,), "after"))
        self.assertEqual(self.ask(allOf(allOf(after), total(atMost(9)))), Admit((first,), "after"))

    def test_probeAsksFirst(self) -> None:
        """Probe asks for a probe of each live session, with its timeout."""
        first, second = self.live(), self.live()
        self.assertEqual(self.ask(perAvatar(atMost(2, probe(3.0)))), Probe((first, second), 3.0))

    def test_probeTakesTheSilent(self) -> None:
        """A session that did not answer ends; if all answered, the login is refused."""
        first, second = self.live(), self.live()
        one, two = (cast(Session, place.session).sessionId for place in (first, second))
        policy = perAvatar(atMost(2, "probe"))
        self.assertEqual(self.ask(policy, probed={one: True, two: False}), Admit((second,)))
        self.assertRefused(self.ask(policy, probed={one: True, two: True}), "alice has 2 of 2 connections")
        self.assertEqual(self.ask(policy, probed={one: True}), Probe((second,)))

    def test_probeDoesNotAskThePending(self) -> None:
        """A pending login counts as alive."""
        self.roster.reserve("alice", "p1")
        self.assertIsInstance(self.ask(perAvatar(atMost(1, "probe"))), Refuse)

    def test_allOfAsksInOrder(self) -> None:
        """The first policy that does not admit decides."""
        self.live()
        self.assertRefused(
            self.ask(allOf(perAvatar(atMost(5)), perAvatar(atMost(1)), total(atMost(0)))),
            "alice has 1 of 1 connections",
        )
        self.assertEqual(self.ask(allOf()), Admit())

    def test_allOfCombinesEndings(self) -> None:
        """Sessions that an earlier policy ends do not count for a later one, and each ends once."""
        first, other = self.live("alice", "p1"), self.live("bob", "p2")
        own = perAvatar(atMost(1, "kick"))
        self.assertEqual(self.ask(allOf(own, total(atMost(2)))), Admit((first,)))
        self.assertEqual(self.ask(allOf(own, total(atMost(1, "kick")))), Admit((first, other)))
        self.assertEqual(self.ask(allOf(own, own)), Admit((first,)))

    def test_allOfNestsAsItIs(self) -> None:
        """A nested `allOf` decides like a flat one."""
        self.live("alice", "p1")
        self.live("bob", "p2")
        own, full = perAvatar(atMost(1, "kick")), total(atMost(2))
        self.assertEqual(self.ask(allOf(allOf(own), full)), self.ask(allOf(own, full)))

    def test_allOfWantsADecision(self) -> None:
        """A policy that returns None is a TypeError, never an admission."""
        forgetful: Any = lambda view, candidate: None  # noqa: E731
        self.assertRaises(TypeError, allOf(forgetful), self.roster.view, Candidate("alice"))

    def test_usersOwnConflictRule(self) -> None:
        """A conflict rule can be a function of the group, the number to end, the candidate and the refusal."""
        seen: list[tuple[int, int, str]] = []

        def youngest(group: Any, excess: int, candidate: Candidate, refusal: Refuse) -> Decision:
            seen.append((len(group), excess, candidate.avatarId))
            return Admit((list(group)[-1],))

        self.live()
        last = self.live()
        self.assertEqual(perAvatar(atMost(2, youngest))(self.roster.view, Candidate("alice")), Admit((last,)))
        self.assertEqual(seen, [(2, 1, "alice")])

    def test_decisionsAreFrozen(self) -> None:
        """A decision cannot be changed afterwards."""
        decision: Any = Admit()
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, decision, "ending", (1,))

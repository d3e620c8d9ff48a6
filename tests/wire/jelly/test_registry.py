"""Which classes a server builds from what a client sends."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from twisted.spread import jelly, pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit import dropin
from pbkit.errors import ClassRefused, ConfigError
from pbkit.wire.jelly.registry import STOCK, namesOf, registryOf
from tests.support import Wire, collect, serve
from tests.wire.copies import BOARD, CARD, PLAIN, Card, CardCopy, Plain, PlainCopy, RawCase, state
from tests.wire.things import Board, BoardCopy


class NamesTests(SynchronousTestCase):
    """How a class is named."""

    def test_either(self) -> None:
        """By the class that is sent, by the class that is built, or by the name that is sent."""
        for one in (Card, CardCopy, CARD, CARD.decode()):
            self.assertEqual(namesOf(one), {CARD}, one)

    def test_severalNames(self) -> None:
        """A class that is registered under several names is allowed under all of them."""
        pb.setUnjellyableForClass("other", PlainCopy)
        self.addCleanup(lambda: STOCK.classes.pop(b"other"))
        self.assertEqual(namesOf(PlainCopy), {PLAIN, b"other"})

    def test_factory(self) -> None:
        """What `setUnjellyableFactoryForClass` was given is allowed as well."""

        def make(state: Any) -> Any:
            return state

        pb.setUnjellyableFactoryForClass("made", make)
        self.addCleanup(lambda: STOCK.factories.pop(b"made"))
        self.assertEqual(registryOf(["made"]).factories, {b"made": make})

    def test_whatIsNotRegistered(self) -> None:
        """An error says what is missing; the names of references are not classes."""
        for one in (type("Unknown", (pb.RemoteCopy,), {}), "no.such.Card", "remote", pb.RemoteReference):
            error = self.assertRaises(ConfigError, registryOf, [one])
            self.assertIn("Call pb.setUnjellyableForClass(name, class) before the server is made", str(error))

    def test_notASet(self) -> None:
        """A single class or text is an error."""
        for one in (CARD.decode(), CARD, Card):
            self.assertIn("allow takes a set", str(self.assertRaises(ConfigError, registryOf, one)))

    def test_stays(self) -> None:
        """Registering another class under an allowed name later changes nothing for this server."""
        registry = registryOf([Card])
        self.addCleanup(lambda: pb.setUnjellyableForClass(Card, CardCopy))
        pb.setUnjellyableForClass(Card, PlainCopy)
        self.assertIs(registry.classes[CARD], CardCopy)

    def test_none(self) -> None:
        """None allows everything that is registered, now or later."""
        self.assertIs(registryOf(None), STOCK)
        self.assertIs(STOCK.classes, jelly.unjellyableRegistry)


class AllowTests(RawCase):
    """A server with an allow-list."""

    def setUp(self) -> None:
        """Make a server that accepts cards."""
        super().setUp()
        self.server = serve(self.realm, clock=self.clock, allow={Card})
        self.wire = Wire(self.server)
        CardCopy.made.clear()
        self.alice, self.session = self.login()

    def taken(self) -> Any:
        """Return what the avatar received last."""
        return self.session.avatar.taken[-1]

    def test_allowed(self) -> None:
        """An instance of a listed class is built."""
        self.get(self.alice, "take", Card(suit="hearts"))
        self.assertEqual((type(self.taken()), self.taken().suit), (CardCopy, "hearts"))

    def test_others(self) -> None:
        """Others are refused, with an error that old programs know; none of their code runs, the connection goes on."""
        for thing in (Plain(), Board(), [{"deep": (Plain(),)}]):
            failure = self.error(self.alice, "take", thing)
            self.assertTrue(failure.check(ClassRefused) and failure.check(jelly.InsecureJelly))
            self.assertIn("is not accepted here", failure.value)
        self.assertEqual(self.session.avatar.taken, [])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertLive(self.alice)

    def test_emptyList(self) -> None:
        """With an empty list no instance is accepted; references and plain data still are."""
        self.wire = Wire(serve(self.realm, clock=self.clock, allow=()))
        alice, session = self.login()
        self.assertRefused(self.raw(alice, b"take", [CARD, state()]), ClassRefused, repr(CARD.decode()))
        self.get(alice, "take", pb.Referenceable(), self.get(alice, "deep"), {"a": [1, (2.5, None)]})
        self.assertEqual(len(session.avatar.taken), 3)

    def test_withoutAList(self) -> None:
        """Without a list everything that is registered is accepted, as in stock."""
        for factory in (None, dropin.PBServerFactory):
            server = serve(self.realm, clock=self.clock) if factory is None else serve(self.realm, factory)
            self.wire = Wire(server)
            alice, session = self.login()
            self.get(alice, "take", Card(), Plain(), Board())
            self.assertEqual([type(one) for one in session.avatar.taken[-3:]], [CardCopy, PlainCopy, BoardCopy])

    def test_theOperatorIsTold(self) -> None:
        """The log says how to accept the class; the client learns nothing about other classes."""
        messages: list[str] = []

        @implementer(ILogObserver)
        def note(event: Any) -> None:
            messages.append(formatEvent(event))

        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        name = PLAIN + b"\x1b[31m" + 300 * b"x"
        said = self.assertRefused(self.raw(self.alice, b"take", [name, state()]), ClassRefused)
        (line,) = [one for one in messages if "is refused" in one]
        self.assertIn("allow={'tests.wire.copies.Plain\\x1b[31mxxx", line)
        for told in (line, said):
            self.assertNotIn("\x1b", told)
            self.assertNotIn(250 * "x", told)

    def test_globalTaster(self) -> None:
        """Classes that are allowed in stock's global `SecurityOptions` are refused as well."""
        for name in vars(jelly.globalSecurity):
            self.patch(jelly.globalSecurity, name, dict(getattr(jelly.globalSecurity, name)))
        jelly.globalSecurity.allowInstancesOf(Deferred)
        path = b"twisted.internet.defer.Deferred"
        for expression in ([path, state()], [b"class", path], [b"module", b"twisted.internet.defer"]):
            self.assertRefused(self.raw(self.alice, b"take", expression), ClassRefused)

    def test_ownTaster(self) -> None:
        """A taster that this server was given is obeyed: what it allows is accepted, the rest is refused."""
        security = jelly.SecurityOptions()
        security.allowBasicTypes()
        self.wire = Wire(serve(self.realm, clock=self.clock, allow={Card}, security=security))
        alice, session = self.login()
        self.released()
        self.assertRefused(self.raw(alice, b"take", [b"remote", 5]), ClassRefused, "'remote'")
        self.assertRefused(self.raw(alice, b"take", [b"twisted.internet.defer.Deferred", state()]), ClassRefused)
        security.allowInstancesOf(Deferred)
        self.raw(alice, b"take", [b"twisted.internet.defer.Deferred", state(x=1)])
        self.assertEqual(session.avatar.taken[0].x, 1)

    def test_cached(self) -> None:
        """An allowed Cacheable of a client is kept up to date; one that was not sent cannot be referred to."""
        self.wire = Wire(serve(self.realm, clock=self.clock, allow={BoardCopy}))
        alice, session = self.login()
        board = Board()
        self.get(alice, "take", board, board)
        self.assertEqual([type(one) for one in session.avatar.taken], [BoardCopy, BoardCopy])
        board.change("x")
        self.wire.flush()
        self.assertEqual(session.avatar.taken[1].changes, ["x"])

    def test_errorsAreReadable(self) -> None:
        """An error of the client's own object is read even if no class is allowed; but not among arguments."""
        self.wire = Wire(serve(self.realm, clock=self.clock, allow=()))
        alice, session = self.login()

        class Failing(pb.Referenceable):
            def remote_fail(self) -> None:
                raise pb.Error("my own")

        self.get(alice, "take", Failing())
        failed = session.avatar.taken[0].callRemote("fail")
        self.wire.flush()
        self.assertEqual(self.failureResultOf(failed, pb.Error).getErrorMessage(), "my own")
        failure = pb.CopyableFailure(Failure(ValueError("no")).value)
        self.assertTrue(self.error(alice, "take", failure).check(ClassRefused))

    def test_whatItHeldIsGivenBack(self) -> None:
        """References beside a refused instance, and in the other half of the call, are given back."""
        released = self.released()
        kw = (b"dictionary", [b"a", [b"remote", 74]])
        things = [b"tuple", [b"remote", 71], [PLAIN, state(x=[b"remote", 75])], [b"remote", 72], [BOARD, 73, state()]]
        self.assertRefused(self.raw(self.alice, b"take", things, kw=kw), ClassRefused)
        collect()
        self.wire.flush()
        self.assertEqual(sorted(released), [71, 72, 73, 74, 75])

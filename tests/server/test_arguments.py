"""The arguments of a login, read by hand: whatever an unauthenticated client sends."""

from __future__ import annotations

import gc
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.spread import jelly, pb
from twisted.trial.unittest import SynchronousTestCase

from pbkit import dropin, errors
from pbkit.server.arguments import LoginArguments, plainUsername
from tests.server.case import ServerCase, StockRealm
from tests.support import LENIENT, PASSWORD, Client, Wire, serve

RESPOND, ANONYMOUS = "respond(response, mind)", "loginAnonymous(mind)"
NO_KW = [b"dictionary"]

_ATOMS = [b"tuple", b"list", b"unicode", b"None", b"remote", b"local", b"dictionary", b"reference", b"alice", b"\xff"]
#: What Banana can make, with what jelly might make something of more often than not.
EXPRESSIONS: Any = st.recursive(
    st.one_of(st.sampled_from(_ATOMS), st.binary(max_size=20), st.integers(), st.floats(allow_nan=False)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)
#: What comes near to a login.
NEAR: Any = st.lists(
    st.one_of(
        EXPRESSIONS,
        st.just([b"None"]),
        st.integers().map(lambda luid: [b"remote", luid]),
        st.binary(min_size=16, max_size=16),
        st.binary(max_size=20).map(lambda octets: [b"unicode", octets]),
    ),
    max_size=3,
).flatmap(lambda items: st.sampled_from([[b"tuple", *items], [b"list", *items]]))


class Tables(pb.Broker):
    """A broker to which the references of this test belong; it sends nothing."""

    def sendDecRef(self, objectID: Any) -> None:
        """Send nothing."""


class ReadingTests(SynchronousTestCase):
    """`plainUsername` and `LoginArguments`."""

    def setUp(self) -> None:
        """Make the tables that references belong to."""
        self.tables = Tables(False)

    def stock(self, args: Any) -> Any:
        """Return what stock makes of the arguments."""
        return list(self.tables.unserialize(args))

    @settings(max_examples=500, deadline=None)
    @given(args=st.one_of(EXPRESSIONS, NEAR), kw=st.one_of(st.just(NO_KW), EXPRESSIONS))
    def test_username(self, args: Any, kw: Any) -> None:
        """A name is what stock's jelly makes of it, or None, or an `Error` says how to call the method."""
        try:
            name = plainUsername(args, kw)
        except errors.Error as error:
            self.assertEqual(str(error), "it is called as login(username)")
            return
        self.assertEqual(kw, NO_KW)
        if name is not None:
            self.assertEqual([name], self.stock(args))

    @settings(max_examples=500, deadline=None)
    @given(
        args=st.one_of(EXPRESSIONS, NEAR),
        kw=st.one_of(st.just(NO_KW), EXPRESSIONS),
        signature=st.sampled_from([RESPOND, ANONYMOUS]),
    )
    def test_login(self, args: Any, kw: Any, signature: str) -> None:
        """
        The mind is what stock's jelly makes of it, and the response too, if it could be right; or it is refused, with
        an `Error`.
        """
        try:
            read = LoginArguments(args, kw, signature).read(self.tables)
        except errors.Error as error:
            self.assertIn(type(error), (errors.BadMind, errors.Error))
            return
        response, mind = read
        if not isinstance(response, bytes):
            self.assertIsNone(response)
            args = [args[0], b"x", args[-1]]
        elif signature == RESPOND:
            self.assertEqual(response, self.stock(args)[0])
        expected = self.stock(args)[-1]
        if mind is None:
            self.assertIsNone(expected)
            return
        self.assertIs(type(expected), pb.RemoteReference)
        # Stock makes this list with the reference.
        self.assertEqual(mind.disconnectCallbacks, [])
        self.assertEqual(mind.__dict__, expected.__dict__)

    def test_whatClientsSend(self) -> None:
        """What clients send for a name, a response and a mind is read."""
        reference = [b"remote", 5]
        for args in ([b"tuple", b"alice"], [b"list", b"alice"], [b"tuple", [b"unicode", b"alice"]]):
            self.assertIn(plainUsername(args, NO_KW), (b"alice", "alice"))
        for mind in ([b"None"], reference):
            response, found = LoginArguments([b"tuple", b"x" * 16, mind], NO_KW, RESPOND).read(self.tables)
            self.assertEqual((response, found is None), (b"x" * 16, mind == [b"None"]))
            self.assertIsNone(LoginArguments([b"tuple", mind], NO_KW, ANONYMOUS).read(self.tables)[0])

    def test_otherResponsesAreNotKept(self) -> None:
        """A response that cannot be right is not kept while it waits its turn, however long it is."""
        for wrong in (b"", b"x" * 15, b"x" * 17, b"x" * 100_000, [b"unicode", b"x" * 16], 5, [b"remote", 3]):
            read = LoginArguments([b"tuple", wrong, [b"None"]], NO_KW, RESPOND)
            self.assertEqual(read.read(self.tables), (None, None))


class Trap(pb.Copyable):
    """A class that a module has registered with jelly."""


class Sprung(pb.RemoteCopy):
    """The receiving class, whose code jelly runs."""

    sprung = 0

    def setCopyableState(self, state: Any) -> None:
        """Count."""
        Sprung.sprung += 1


class NothingIsUnjelliedTests(ServerCase):
    """Before a login has succeeded, the code of no class runs."""

    def setUp(self) -> None:
        """A class is registered for all connections."""
        super().setUp()
        pb.setUnjellyableForClass(Trap, Sprung)
        name = f"{Trap.__module__}.{Trap.__name__}".encode()
        self.addCleanup(lambda: vars(jelly)["unjellyableRegistry"].pop(name))
        self.addCleanup(setattr, Sprung, "sprung", 0)

    def sprungAt(self, server: Any) -> int:
        """Return how often its code runs if it is sent in each place of a login."""
        wire = Wire(server)
        root = self.successResultOf(wire.factory.getRootObject())
        Sprung.sprung = 0
        answers = [wire.call(root, "login", Trap()), wire.call(root, "login", "alice", trap=Trap())]
        answers.append(wire.call(root, "loginAnonymous", Trap()))
        answers.append(wire.call(root, "nothing", Trap()))
        for args, kw in (((Trap(), None), {}), ((b"x" * 16, Trap()), {}), ((b"x" * 16, None), {"trap": Trap()})):
            challenger = self.successResultOf(wire.call(root, "login", b"alice"))[1]
            answers.append(wire.call(challenger, "respond", *args, **kw))
        challenge, challenger = self.successResultOf(wire.call(root, "login", b"alice"))
        answers.append(wire.call(challenger, "nothing", Trap()))
        # A right one, with it for a mind, too.
        answers.append(wire.call(challenger, "respond", pb.respond(challenge, PASSWORD), Trap()))
        for answer in answers:
            self.assertFalse(wire.server.disconnected)
            answer.addErrback(lambda failure: None)
        self.flushLoggedErrors()
        return Sprung.sprung

    def test_itsCodeNeverRuns(self) -> None:
        """In a strict server it never runs, whatever the realm; in a stock one it does."""
        self.assertEqual([self.sprungAt(self.lenient), self.sprungAt(serve(StockRealm(), profile=LENIENT))], [0, 0])
        self.assertEqual(self.sprungAt(serve(self.realm, dropin.PBServerFactory)), 0)
        self.assertGreater(self.sprungAt(serve(StockRealm(), pb.PBServerFactory)), 3)

    def test_whatIsRefusedIsGivenBack(self) -> None:
        """The client keeps no object for references in a refused call."""
        wire = Wire(self.lenient)
        root = self.successResultOf(wire.factory.getRootObject())
        challenge, challenger = self.successResultOf(wire.call(root, "login", b"alice"))
        for reference, method, args in (
            (root, "login", (Client(),)),
            (root, "login", (Client(), Client())),
            (root, "nothing", ([Client()],)),
            (root, "loginAnonymous", ([Client()],)),
            (root, "loginAnonymous", (Client(), Client())),
            (challenger, "nothing", (Client(),)),
            (challenger, "respond", (Client(),)),
            (challenger, "respond", (Client(), [Client()])),
            (challenger, "respond", (b"x" * 16, Client())),
            (challenger, "respond", (b"x" * 16, Client())),
        ):
            d = wire.call(reference, method, *args)
            self.clock.advance(10)
            wire.flush()
            self.failureResultOf(d)
            d = wire.call(reference, "nothing", kw={"a": Client()})
            self.failureResultOf(d)
        gc.collect()
        wire.flush()
        self.assertEqual(wire.client.localObjects, {})
        self.assertEqual((wire.server.owners, wire.server._channels), ({}, {}))

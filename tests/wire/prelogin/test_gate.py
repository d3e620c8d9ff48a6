"""What a peer may send before login."""

from __future__ import annotations

import contextlib
import gc
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.spread import jelly as jellymodule
from twisted.spread import pb
from twisted.spread.banana import BananaError
from twisted.spread.jelly import jelly
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Broker, CachingRealm, ClientFactory
from pbkit.errors import Error
from pbkit.wire.prelogin.gate import IGNORE, SERVE, Answer, Disconnect, Ignore, NoSuchObject, PreloginGate, Serve
from tests.support import Client, Recorder, Wire, serve
from tests.wire.things import WireCase

CHALLENGER = 7
KW = [b"dictionary"]


def gate(inside: int = 0) -> PreloginGate:
    """Return the gate of a connection that has one challenger."""
    made = PreloginGate(lambda luid: luid == CHALLENGER)
    for _ in range(inside):
        made.enter()
    return made


def message(objectID: Any, method: Any, *args: Any, requestID: Any = 1, answer: Any = 1, kw: Any = KW) -> list[Any]:
    """Return the expression of a call."""
    return [b"message", requestID, objectID, method, answer, [b"tuple", *args], kw]


class CallTests(SynchronousTestCase):
    """Calls."""

    def test_login(self) -> None:
        """The calls of a login are served, with any arguments, which are parsed without jelly."""
        for expression in (
            message(b"root", b"login", b"alice"),
            message(b"root", b"loginAnonymous", [b"some.Class"]),
            message(b"root", b"nonsense", requestID=b"x", answer=0),
            message(CHALLENGER, b"respond", b"x", [b"remote", 1]),
            message(b"pbkit", b"hello", b"{}", kw=5),
        ):
            self.assertIs(gate().admits(expression), SERVE)


class OtherTests(SynchronousTestCase):
    """Other messages."""

    def test_version(self) -> None:
        """Our protocol version is accepted; another one closes the connection."""
        self.assertIs(gate().admits([b"version", 6]), SERVE)
        for version in ([b"version", 5], [b"version"], [b"version", b"6"], [b"version", 6, 6]):
            self.assertIsInstance(gate().admits(version), Disconnect)

    def test_ping(self) -> None:
        """A call to an unknown object is a ping, with any method and arguments."""
        for objectID in (b"pbkit.ping", 8, b"", 7.0, [b"x"]):
            expression = message(objectID, b"ping", [b"some.Class", [b"remote", 3]])
            self.assertEqual(gate().admits(expression), NoSuchObject(1, objectID, True, [b"list", *expression[5:]]))

    def test_answers(self) -> None:
        """The content of an answer to our ping is not examined."""
        for command in (b"answer", b"error"):
            expected = Answer(3, [[b"some.Class"]], isError=command == b"error")
            self.assertEqual(gate().admits([command, 3, [b"some.Class"]]), expected)
            self.assertIsInstance(gate().admits([command, [3], 1]), Disconnect)
            self.assertIsInstance(gate().admits([command, 3]), Disconnect)

    def test_decref(self) -> None:
        """A challenger can be released; an unknown id is ignored later."""
        self.assertIs(gate().admits([b"decref", CHALLENGER]), SERVE)
        self.assertIs(gate().admits([b"decref", 99]), SERVE)
        self.assertIsInstance(gate().admits([b"decref", b"root"]), Disconnect)

    def test_didNotUnderstand(self) -> None:
        """The message is ignored."""
        self.assertIs(gate().admits([b"didNotUnderstand", b"x"]), IGNORE)

    def test_otherMessages(self) -> None:
        """Any other message closes the connection, with a reason that quotes nothing of the peer."""
        for expression in (
            5,
            b"x",
            1.5,
            [],
            [5],
            [[b"message"]],
            [b"message"],
            [b"secret", b"x"],
            [b"cachemessage", 1, 1, b"x", 0, [b"tuple"], KW],
            [b"decache", 1],
            [b"uncache", 1],
            [b"lcache", 1],
            message(b"root", 5),
            message(b"root", b"login", b"alice", requestID=[1]),
            message(8, [b"ping"]),
        ):
            verdict = gate().admits(expression)
            assert isinstance(verdict, Disconnect), expression
            self.assertNotIn("secret", verdict.why)


class OpenTests(SynchronousTestCase):
    """The gate during a session, and after it."""

    def test_counts(self) -> None:
        """The gate opens with the first session and closes with the last."""
        made = gate()
        self.assertEqual([made.enter(), made.enter(), made.leave(), made.leave()], [True, False, False, True])
        self.assertTrue(made.enter())

    def test_underWay(self) -> None:
        """Messages on their way when the last session ends do not close the connection, and are not unjellied."""
        made = gate(1)
        made.leave()
        self.assertIs(made.admits([b"decache", 1]), SERVE)
        self.assertIs(made.admits([b"uncache", 1]), SERVE)
        changed = [b"cachemessage", 2, 1, b"x", 0, [b"tuple", [b"some.Class"]], KW]
        self.assertEqual(made.admits(changed), NoSuchObject(2, 1, False, [b"list", *changed[5:]]))
        self.assertEqual(made.admits(message(8, b"x")), NoSuchObject(1, 8, True, [b"list", [b"tuple"], KW]))
        self.assertIsInstance(made.admits([b"lcache", 1]), Disconnect)


class LoginTests(WireCase):
    """Real clients and a real server."""

    def test_whatRealClientsSay(self) -> None:
        """Every message that stock and pbkit clients send before login is served."""
        for factory in (pb.PBClientFactory(), ClientFactory(hello={"app": "game"})):
            said: list[Any] = []

            class Heard(Broker):
                def expressionReceived(self, expression: Any, said: list[Any] = said) -> None:
                    said.append(expression[0])
                    super().expressionReceived(expression)

            server = serve(self.realm)
            server.protocol = Heard
            wire = Wire(server, factory)
            self.successResultOf(wire.login("alice", Client()))
            # This realm refuses anonymous logins.
            self.failureResultOf(wire.login(None), Error)
            self.assertIsNone(wire.server.refused)
            self.assertLessEqual({b"version", b"message"}, set(said))

    def test_closesWithTheLastSession(self) -> None:
        """After the last session, only logins are served again, and nothing is unjellied."""
        wire = Wire(serve(CachingRealm(Recorder, clock=self.clock), clock=self.clock))
        avatar = self.successResultOf(wire.login("alice"))
        other = self.successResultOf(wire.login("alice"))
        del avatar
        self.collect(wire)
        self.assertTrue(wire.server.fast)
        del other
        self.collect(wire)
        self.assertFalse(wire.server.fast)
        self.assertIsNone(wire.server.refused)
        wire.client.sendCall(b"lcache", 1)
        wire.flush()
        self.assertIn("lcache", wire.server.refused)

    def collect(self, wire: Any) -> None:
        """Collect garbage, and deliver the client's releases."""
        gc.collect()
        wire.flush()


WORDS = (
    b"message answer error version decref root pbkit login loginAnonymous respond hello unicode None remote boolean "
    b"true dictionary tuple list local lcache cachemessage decache uncache didNotUnderstand instance"
)
atoms = st.one_of(st.integers(-(2**80), 2**80), st.floats(), st.binary(max_size=8), st.sampled_from(WORDS.split()))
expressions: st.SearchStrategy[Any] = st.recursive(atoms, lambda inner: st.lists(inner, max_size=8), max_leaves=30)
texts = st.one_of(st.text(max_size=8), st.binary(max_size=8))
plain = st.one_of(texts, st.integers(-(2**80), 2**80), st.floats(allow_nan=False), st.booleans(), st.none())
calls: st.SearchStrategy[Any] = st.builds(
    lambda target, args, answer, kw: [b"message", 1, *target, answer, [b"tuple", *args], kw],
    st.sampled_from(
        [(b"root", b"login"), (b"root", b"loginAnonymous"), (CHALLENGER, b"respond"), (b"pbkit", b"hello")]
    ),
    st.lists(
        st.one_of(
            expressions,
            texts.map(jelly),
            st.dictionaries(texts, plain).map(jelly),
            st.sampled_from([[b"None"], [b"remote", 3]]),
        ),
        max_size=3,
    ),
    st.sampled_from([0, 1]),
    st.one_of(st.just(KW), expressions),
)


class Opened(pb.RemoteCopy):
    """A class that a module has registered with jelly, for all connections of the process."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def setCopyableState(self, state: Any) -> None:
        """Record that its code ran."""
        type(self).made += 1


class AnythingTests(SynchronousTestCase):
    """Random messages before login."""

    @settings(deadline=None, max_examples=400)
    @given(st.one_of(expressions, st.lists(expressions, min_size=1, max_size=7), calls))
    def test_neverRaises(self, expression: Any) -> None:
        """The gate has a verdict for each message."""
        verdict = gate().admits(expression)
        self.assertIsInstance(verdict, (Serve, NoSuchObject, Answer, Ignore, Disconnect))
        if isinstance(verdict, Serve):
            self.assertIn(expression[0], (b"version", b"decref", b"message"))

    @settings(deadline=None, max_examples=400)
    @given(st.lists(st.one_of(expressions, st.lists(expressions, min_size=1, max_size=7), calls), max_size=4))
    def test_nothingIsUnjellied(self, said: Any) -> None:
        """A server closes the connection or answers; no class is looked up, no hook runs, no error logged."""
        jellymodule.setUnjellyableForClass("some.Class", Opened)
        self.addCleanup(lambda: cast(Any, jellymodule.unjellyableRegistry).pop(b"some.Class", None))
        Opened.made = 0
        wire = Wire(serve(CachingRealm(Recorder)))
        for each in (*said, message(b"root", b"loginAnonymous", [b"some.Class", [b"dictionary"]])):
            with contextlib.suppress(BananaError):
                wire.client.sendEncoded(each)
        wire.client.expressionReceived = lambda expression: None
        wire.flush()
        self.assertEqual(Opened.made, 0)
        self.assertEqual(self.flushLoggedErrors(), [])

"""What a peer may say before it has logged in."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.spread import pb
from twisted.spread.jelly import jelly, unjelly
from twisted.trial.unittest import SynchronousTestCase

from pbkit import Broker, ClientFactory
from pbkit.errors import BadCredentials, BadMind, Error, NoSuchMethod
from pbkit.wire.gate import IGNORED, SERVE, Answered, Call, Closed, Gate, Ignored, Nobody, Refused, Serve
from pbkit.wire.plain import Plain, RemoteId, mindOf
from tests.support import Client, Wire, serve
from tests.wire.things import WireCase

CHALLENGER = 7
KW = [b"dictionary"]


def gate(inside: int = 0) -> Gate:
    """A gate of a connection that was given one challenger."""
    made = Gate({CHALLENGER: None}.__contains__)
    for _ in range(inside):
        made.enter()
    return made


def message(objectID: Any, method: Any, *args: Any, requestID: Any = 1, answer: Any = 1, kw: Any = KW) -> list[Any]:
    """A call, as it comes off the wire."""
    return [b"message", requestID, objectID, method, answer, [b"tuple", *args], kw]


class CallTests(SynchronousTestCase):
    """What a login needs is admitted, with its arguments read."""

    def admitted(self, expression: Any) -> Call:
        """What is made of it."""
        verdict = gate().admits(expression)
        assert isinstance(verdict, Call), verdict
        return verdict

    def refused(self, expression: Any) -> Refused:
        """The refusal."""
        verdict = gate().admits(expression)
        assert isinstance(verdict, Refused), verdict
        return verdict

    def test_login(self) -> None:
        """A user name is bytes or a text, as the client sent it."""
        self.assertEqual(
            self.admitted(message(b"root", b"login", b"alice", requestID=3)),
            Call(3, b"root", "login", True, Plain([b"alice"])),
        )
        self.assertEqual(self.admitted(message(b"root", b"login", jelly("ü"))).arguments, ("ü",))

    def test_asOnPython2(self) -> None:
        """Arguments may be a list, and a request id a string."""
        expression = [b"message", b"1", b"root", b"login", 1, [b"list", b"alice"], KW]
        self.assertEqual(self.admitted(expression), Call(b"1", b"root", "login", True, Plain([b"alice"])))

    def test_noAnswer(self) -> None:
        """Whether an answer is wanted is kept."""
        self.assertFalse(self.admitted(message(b"root", b"login", b"alice", answer=0)).answer)

    def test_anonymous(self) -> None:
        """A mind is None, or an id under which the client keeps an object."""
        self.assertEqual(self.admitted(message(b"root", b"loginAnonymous", [b"None"])).arguments, (None,))
        self.assertEqual(self.admitted(message(b"root", b"loginAnonymous", [b"remote", 4])).arguments, (RemoteId(4),))

    def test_respond(self) -> None:
        """A challenger that was handed out here may be answered."""
        self.assertEqual(
            self.admitted(message(CHALLENGER, b"respond", b"x" * 16, [b"remote", 4])),
            Call(1, CHALLENGER, "respond", True, Plain([b"x" * 16, RemoteId(4)])),
        )

    def test_hello(self) -> None:
        """What a client declares of itself is a dict of plain values, whatever stock's jelly makes of them."""
        features = {"app": "game", "n": 3, "big": 2**70, "ok": True, "not": False, "none": None, "x": 1.5, b"r": b"\0"}
        self.assertEqual(self.admitted(message(b"pbkit", b"hello", jelly(features))).arguments, (features,))

    def test_whoCallsItOtherwise(self) -> None:
        """Too few arguments, too many, or with names: the reply says how it is called."""
        for expression, signature in (
            (message(b"root", b"login"), "login(username)"),
            (message(b"root", b"login", b"alice", b"sesame"), "login(username)"),
            (message(b"root", b"login", b"alice", kw=jelly({"mind": None})), "login(username)"),
            (message(b"root", b"loginAnonymous"), "loginAnonymous(mind)"),
            (message(CHALLENGER, b"respond", b"x"), "respond(response, mind)"),
            (message(b"pbkit", b"hello"), "hello(features)"),
            ([b"message", 1, b"root", b"login", 1, b"alice", KW], "login(username)"),
            ([b"message", 1, b"root", b"login", 1, [], KW], "login(username)"),
            ([b"message", 1, b"root", b"login", 1, [b"set", b"alice"], KW], "login(username)"),
        ):
            refused = self.refused(expression)
            self.assertEqual((type(refused.error), str(refused.error)), (Error, f"it is called as {signature}"))
            self.assertEqual((refused.requestID, refused.answer), (1, True))

    def test_noMind(self) -> None:
        """What is neither None nor a reference is no mind, be it the server's own login root."""
        minds: list[Any] = [5, b"x", jelly("x"), jelly([1]), jelly({}), [b"local", b"root"], [b"remote", b"x"]]
        minds += [
            [b"remote", 1, 2],
            [b"remote"],
            [b"None", 1],
            [b"some.Class", [b"dictionary"]],
            [],
            [[]],
            [b"lcache", 1],
        ]
        for mind in minds:
            self.assertEqual(type(self.refused(message(b"root", b"loginAnonymous", mind)).error), BadMind, mind)
            self.assertEqual(type(self.refused(message(CHALLENGER, b"respond", b"x", mind)).error), BadMind, mind)

    def test_noCredentials(self) -> None:
        """A name that is no text, or a response that is no bytes, reaches no checker."""
        for name in (
            5,
            1.5,
            [b"list"],
            [b"unicode", b"\xff"],
            [b"unicode"],
            [b"unicode", 5],
            [b"None"],
            [b"remote", 1],
        ):
            self.assertEqual(type(self.refused(message(b"root", b"login", name)).error), BadCredentials, name)
        for response in (5, jelly("x"), [b"list", b"x"]):
            refused = self.refused(message(CHALLENGER, b"respond", response, [b"None"]))
            self.assertEqual(type(refused.error), BadCredentials, response)

    def test_noFeatures(self) -> None:
        """A hello of anything else than plain values is refused."""
        for features in (
            jelly([1]),
            jelly({1: 2}),
            jelly({"x": []}),
            jelly({"x": {}}),
            [b"dictionary", 5],
            [b"dictionary", [b"x"]],
            [b"dictionary", [b"x", [b"boolean", b"maybe"]]],
            [b"dictionary", [[b"list"], 1]],
            [b"dictionary", [b"x", [b"remote", 1]]],
        ):
            self.assertIn("hello takes", str(self.refused(message(b"pbkit", b"hello", features)).error), features)

    def test_noSuchMethod(self) -> None:
        """Each object has its own methods, and no others; a long name is cut."""
        for objectID, method in (
            (b"root", b"respond"),
            (b"root", b"hello"),
            (CHALLENGER, b"login"),
            (b"pbkit", b"login"),
            (b"root", b"\xff"),
            (b"root", b"x" * 5000),
        ):
            refused = self.refused(message(objectID, method, b"x"))
            self.assertIsInstance(refused.error, NoSuchMethod)
            self.assertLess(len(str(refused.error)), 150)

    def test_whatCameWithARefusedCall(self) -> None:
        """The arguments are handed back: the client keeps an object for each reference among them."""
        expression = message(b"root", b"login", [b"remote", 4])
        self.assertEqual(self.refused(expression).rest, [b"list", [b"tuple", [b"remote", 4]], KW])


class OtherTests(SynchronousTestCase):
    """What else may be said, and what may not."""

    def test_version(self) -> None:
        """Our version is served; with another the connection is closed."""
        self.assertIs(gate().admits([b"version", 6]), SERVE)
        for version in ([b"version", 5], [b"version"], [b"version", b"6"], [b"version", 6, 6]):
            self.assertIsInstance(gate().admits(version), Closed)

    def test_ping(self) -> None:
        """A call on an object that nobody has is one, whatever it is called and with what."""
        for objectID in (b"pbkit.ping", 8, b"", 7.0, [b"x"]):
            expression = message(objectID, b"ping", [b"some.Class", [b"remote", 3]])
            self.assertEqual(gate().admits(expression), Nobody(1, objectID, True, [b"list", *expression[5:]]))

    def test_answers(self) -> None:
        """What answers a ping of ours is not looked into."""
        for command in (b"answer", b"error"):
            self.assertEqual(gate().admits([command, 3, [b"some.Class"]]), Answered(3, [[b"some.Class"]]))
            self.assertIsInstance(gate().admits([command, [3], 1]), Closed)
            self.assertIsInstance(gate().admits([command, 3]), Closed)

    def test_decref(self) -> None:
        """A challenger may be let go of; the id of nothing is passed over by whoever serves it."""
        self.assertIs(gate().admits([b"decref", CHALLENGER]), SERVE)
        self.assertIs(gate().admits([b"decref", 99]), SERVE)
        self.assertIsInstance(gate().admits([b"decref", b"root"]), Closed)

    def test_didNotUnderstand(self) -> None:
        """It is not heeded."""
        self.assertIs(gate().admits([b"didNotUnderstand", b"x"]), IGNORED)

    def test_strangers(self) -> None:
        """What no client says before it has logged in closes the connection, and why says nothing of the peer's."""
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
            assert isinstance(verdict, Closed), expression
            self.assertNotIn("secret", verdict.why)


class OpenTests(SynchronousTestCase):
    """The gate while somebody is logged in, and after."""

    def test_counts(self) -> None:
        """It opens with the first and closes with the last."""
        made = gate()
        self.assertEqual([made.enter(), made.enter(), made.leave(), made.leave()], [True, False, False, True])
        self.assertTrue(made.enter())

    def test_open(self) -> None:
        """Everything is served as ever."""
        for expression in (
            message(8, b"x", [b"some.Class"]),
            [b"cachemessage", 1, 1, b"x", 0, [b"tuple"], KW],
            [b"decache", 1],
            [b"answer", 1, [b"some.Class"]],
            [b"unknown"],
            [],
            5,
        ):
            self.assertIs(gate(1).admits(expression), SERVE)

    def test_nextLogin(self) -> None:
        """Another login on the connection is decided on as the first."""
        made = gate(1)
        self.assertIsInstance(made.admits(message(b"root", b"login", b"alice")), Call)
        self.assertIsInstance(made.admits(message(CHALLENGER, b"respond", b"x", [b"None"])), Call)
        self.assertIsInstance(made.admits(message(b"root", b"loginAnonymous", [b"some.Class"])), Refused)
        self.assertIsInstance(made.admits(message(b"pbkit", b"hello", [b"some.Class"])), Refused)

    def test_underWay(self) -> None:
        """What was under way when the last session ended costs no connection, and is not unjellied."""
        made = gate(1)
        made.leave()
        self.assertIs(made.admits([b"decache", 1]), SERVE)
        self.assertIs(made.admits([b"uncache", 1]), SERVE)
        changed = [b"cachemessage", 2, 1, b"x", 0, [b"tuple", [b"some.Class"]], KW]
        self.assertEqual(made.admits(changed), Nobody(2, 1, False, [b"list", *changed[5:]]))
        self.assertEqual(made.admits(message(8, b"x")), Nobody(1, 8, True, [b"list", [b"tuple"], KW]))
        self.assertIsInstance(made.admits([b"lcache", 1]), Closed)


class LoginTests(WireCase):
    """Real clients."""

    def test_whatRealClientsSay(self) -> None:
        """Each message of a stock client's and of pbkit's before they are logged in is admitted."""
        for factory, hello in ((pb.PBClientFactory(), set()), (ClientFactory(hello={"app": "game"}), {"hello"})):
            said: list[Any] = []

            class Heard(Broker):
                def expressionReceived(self, expression: Any, said: list[Any] = said) -> None:
                    said.append(Gate(lambda luid: luid in self.localObjects).admits(expression))
                    super().expressionReceived(expression)

            server = serve(self.realm)
            server.protocol = Heard
            wire = Wire(server, factory)
            wire.login("alice", Client())
            # Who comes without a name is refused by this realm.
            self.failureResultOf(wire.login(None), Error)
            self.assertEqual({type(verdict) for verdict in said}, {Call, Serve})
            called = {verdict.method for verdict in said if isinstance(verdict, Call)}
            self.assertEqual(called, {"login", "respond", "loginAnonymous"} | hello)

    def test_giveBack(self) -> None:
        """A mind that was read by hand is the channel's reference, and is given back when it is dropped."""
        wire = self.wire
        channel = wire.server.openChannel()
        luid = wire.client.registerReference(Client())
        self.assertIsNone(mindOf(None, channel))
        mind = mindOf(RemoteId(luid), channel)
        assert mind is not None
        self.assertIs(mind.broker, channel)
        wire.flush()
        self.assertIn(luid, wire.client.localObjects)
        del mind
        wire.flush()
        self.assertNotIn(luid, wire.client.localObjects)

    def test_helloReadByHand(self) -> None:
        """A hello takes arguments that were read by hand as it takes jelly."""
        hello = self.wire.server.localObjectForID(b"pbkit")
        hello.remoteMessageReceived(self.wire.server, "hello", Plain([{"app": "game"}]), {})
        self.assertEqual(self.wire.server.peer.hello, {"app": "game"})


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


class AnythingTests(SynchronousTestCase):
    """Whatever a peer sends."""

    @settings(deadline=None, max_examples=400)
    @given(st.one_of(expressions, st.lists(expressions, min_size=1, max_size=7), calls), st.integers(0, 1))
    def test_neverRaises(self, expression: Any, inside: int) -> None:
        """There is a verdict on each message, and it is one of the kinds."""
        verdict = gate(inside).admits(expression)
        self.assertIsInstance(verdict, (Serve, Call, Refused, Nobody, Answered, Ignored, Closed))
        if isinstance(verdict, Serve) and not inside:
            self.assertIn(expression[0], (b"version", b"decref"))

    @settings(deadline=None, max_examples=400)
    @given(calls)
    def test_readAsStockDoes(self, expression: Any) -> None:
        """What is read of arguments that are admitted is what stock's unjelly makes of them."""
        verdict = gate().admits(expression)
        if not isinstance(verdict, Call):
            assert isinstance(verdict, Refused)
            return
        broker = pb.Broker()
        sent: list[Any] = []
        broker.sendDecRef = sent.append  # type: ignore[method-assign]
        stock = unjelly(expression[5], broker.security, None, broker)
        self.assertEqual(len(stock), len(verdict.arguments))
        for theirs, ours in zip(stock, verdict.arguments, strict=True):
            if isinstance(ours, RemoteId):
                self.assertIsInstance(theirs, pb.RemoteReference)
                self.assertEqual(theirs.luid, ours.luid)
            else:
                self.assertEqual((type(theirs), repr(theirs)), (type(ours), repr(ours)))

    @settings(deadline=None, max_examples=200)
    @given(texts, texts, plain, st.booleans())
    def test_whatClientsSendIsAdmitted(self, name: Any, key: Any, value: Any, listed: bool) -> None:
        """Each name, response and mind that stock's jelly makes is read, and back comes what went in."""
        made = gate()
        login = made.admits(message(b"root", b"login", jelly(name)))
        assert isinstance(login, Call)
        self.assertEqual(login.arguments, (name,))
        hello = made.admits(message(b"pbkit", b"hello", jelly({key: value})))
        assert isinstance(hello, Call)
        self.assertEqual(repr(hello.arguments), repr(({key: value},)))

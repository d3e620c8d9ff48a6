"""`pbkit.connect`: logging in, calling, closing, and every way in which these can fail."""

from __future__ import annotations

import pickle
import sys
import traceback
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import attrs
from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString
from twisted.internet.error import ConnectionLost, ConnectionRefusedError, DNSLookupError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.jelly import InsecureJelly, jelly
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

import pbkit
from pbkit import CachingRealm, ClientSession, errors
from pbkit.client.session import GOODBYE
from pbkit.wire.profile import STRICT
from tests.support import Client, Recorder, collect, serve


class Plain(Exception):
    """Not known to clients."""


class Told(pb.Error):
    """Not known to clients."""


class NoQuorum(errors.LoginRefused):
    """A refusal that is not known to clients."""


class Quota(errors.TooManySessions):
    """A refusal for a known reason."""


class Outdated(errors.Kicked):
    """An end for a known reason."""


class Slow(pb.Error, TimeoutError):
    """An error of two known kinds."""


class NotYourTurn(ValueError):
    """An error of a program's own."""


class Awkward(Exception):
    """An exception whose constructor does not take a text."""

    def __init__(self, code: int, more: dict[str, int]) -> None:
        super().__init__(f"code {code + more['x']}")


class Secret(pb.Copyable):
    """A Copyable of a class that no client accepts."""


class Hero(Recorder):
    """An avatar whose methods fail in many ways."""

    def perspective_raise(self, error: str) -> None:
        """Raise the exception of that name."""
        raise {
            "value": ValueError("no"),
            "key": KeyError("it's"),
            "exit": SystemExit("3"),
            "stop": StopIteration("x"),
            "unicode": UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
            "pb": pb.Error("stock's"),
            "turn": NotYourTurn("bob's"),
            "plain": Plain("bob's"),
            "told": Told("bob's"),
            "quota": Quota("3 of 3"),
            "outdated": Outdated("too old"),
            "slow": Slow("later"),
            "awkward": Awkward(3, {"x": 1}),
            "kicked": errors.Kicked("bob was"),
            "denied": LoginDenied("no"),
        }[error]

    def perspective_parts(self) -> Any:
        """Return references inside containers."""
        return [{"part": (self.part,)}]

    def perspective_secret(self) -> Secret:
        """Return what the client cannot read."""
        return Secret()

    def perspective_echo(self, value: Any) -> Any:
        """Return the argument."""
        return value

    def perspective_isMine(self, value: Any) -> bool:
        """Return True if the argument is what the client received at login."""
        session = pbkit.currentSession()
        return getattr(value.remoteMessageReceived, "__self__", None) is session


def users(name: Any = "alice", password: Any = "sesame") -> Any:
    """Return credentials of str or bytes: Twisted annotates them for bytes only."""
    return UsernamePassword(name, password)


@implementer(IStreamClientEndpoint)
class Memory:
    """
    An endpoint that reaches a server in memory.

    :ivar answer: what `connect` returns in the place of a connection, if anything.
    """

    def __init__(self, server: Any, answer: Any = None) -> None:
        self.server = server
        self.answer = answer
        self.pump: Any = None
        self.factory: Any = None

    def connect(self, factory: Any) -> Any:
        """Connect: see `IStreamClientEndpoint`."""
        self.factory = factory
        return succeed(self.reach()) if self.answer is None else self.answer

    def reach(self) -> Any:
        """Connect now."""
        client, _, self.pump = connectedServerAndClient(
            lambda: self.server.buildProtocol(None), lambda: self.factory.buildProtocol(None)
        )
        return client

    def flush(self) -> None:
        """Deliver bytes both ways until neither end sends more."""
        if self.pump is not None:
            self.pump.flush()

    @property
    def closed(self) -> bool:
        """True if both ends know that the connection is lost."""
        return bool(self.pump.clientIO.disconnected and self.pump.serverIO.disconnected)


class Says(Protocol):
    """A server that sends some bytes that are not PB."""

    def __init__(self, text: bytes = b"") -> None:
        self.text = text

    def connectionMade(self) -> None:
        """Send the bytes."""
        if self.text:
            self.transport.write(self.text)  # type: ignore[union-attr]


class MemoryTestCase(SynchronousTestCase):
    """Tests with an in-memory server."""

    def setUp(self) -> None:
        """Make the realm."""
        self.clock = Clock()
        self.realm: Any = CachingRealm(Hero, clock=Clock())
        self.endpoint = Memory(serve(self.realm, clock=Clock()))

    def connect(self, credentials: Any = None, **kw: Any) -> Any:
        """Connect, and deliver bytes."""
        d = pbkit.connect(self.endpoint, credentials or users(), reactor=self.clock, **kw)
        self.endpoint.flush()
        return d

    def me(self, **kw: Any) -> ClientSession:
        """Log in."""
        me = self.successResultOf(self.connect(**kw))
        assert isinstance(me, ClientSession)
        return me

    def call(self, reference: Any, *args: Any, **kw: Any) -> Deferred[Any]:
        """Call a method."""
        d: Deferred[Any] = reference.callRemote(*args, **kw)
        self.endpoint.flush()
        return d

    def raised(self, d: Deferred[Any]) -> Any:
        """Return the exception that awaiting the Deferred raises, once it has failed."""
        self.endpoint.flush()
        caught: list[Any] = []

        async def wait() -> None:
            try:
                await d
            except Exception as error:
                caught.append(error)

        self.successResultOf(Deferred.fromCoroutine(wait()))
        self.assertEqual(len(caught), 1)
        return caught[0]

    def nothingIsLeft(self) -> None:
        """Check that no timer, connection or session is left."""
        self.endpoint.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(len(self.realm.roster), 0)
        if self.endpoint.pump is not None:
            self.assertTrue(self.endpoint.closed)


class LoginTests(MemoryTestCase):
    """Logging in and closing."""

    def test_callsAndLeaves(self) -> None:
        """The client logs in, calls, logs out in an orderly way, and leaves nothing behind."""
        me = self.me()
        self.assertEqual(self.successResultOf(self.call(me, "whoami")), "alice")
        self.assertEqual(self.successResultOf(self.call(me, b"whoami")), "alice")
        closed = me.close()
        self.endpoint.flush()
        self.assertIsNone(self.successResultOf(closed))
        self.assertEqual(self.realm.counters.ends, {"LoggedOut": 1})
        self.nothingIsLeft()
        self.assertIsInstance(self.raised(me.callRemote("whoami")), errors.LoggedOut)
        self.assertIsNone(self.successResultOf(me.close()))

    def test_textAndBytes(self) -> None:
        """User name and password can each be str or bytes; guests have neither."""
        for name, password in (("alice", b"sesame"), (b"alice", "sesame"), (b"alice", b"sesame")):
            me = self.successResultOf(self.connect(users(name, password)))
            self.assertEqual(self.successResultOf(self.call(me, "whoami")), "alice")
        self.realm = pbkit.AnonymousRealm(Hero, clock=Clock())
        self.endpoint = Memory(serve(self.realm))
        self.assertEqual(
            self.successResultOf(self.call(self.successResultOf(self.connect(Anonymous())), "whoami")), "anonymous#1"
        )

    def test_nothingIsKept(self) -> None:
        """A connection that is closed is not kept in memory."""
        me = self.me(mind=Client())
        kept = weakref.ref(self.endpoint.pump.client)
        me.close()
        self.endpoint.flush()
        del me
        self.endpoint = Memory(self.endpoint.server)
        collect()
        self.assertIsNone(kept())

    def inside(self, body: Callable[[ClientSession], Coroutine[Any, Any, Any]], **kw: Any) -> Deferred[Any]:
        """Run a body inside `async with`."""

        async def main() -> Any:
            async with pbkit.connect(self.endpoint, users(), reactor=self.clock, **kw) as me:
                return await body(me)

        d = Deferred.fromCoroutine(main())
        self.endpoint.flush()
        return d

    def test_asyncWith(self) -> None:
        """At the end of the block the session is logged out and the connection closed."""

        async def body(me: ClientSession) -> Any:
            return await me.callRemote("whoami")

        self.assertEqual(self.successResultOf(self.inside(body)), "alice")
        self.assertEqual(self.realm.counters.ends, {"LoggedOut": 1})
        self.nothingIsLeft()

    def test_asyncWithRaises(self) -> None:
        """The same happens if the body raises, and the exception propagates."""

        async def body(me: ClientSession) -> None:
            raise NotYourTurn("x")

        self.failureResultOf(self.inside(body), NotYourTurn)
        self.assertEqual(self.realm.counters.ends, {"LoggedOut": 1})
        self.nothingIsLeft()

    def test_asyncWithCancelled(self) -> None:
        """The same happens if the body is cancelled."""

        async def body(me: ClientSession) -> Any:
            return await me.callRemote("wait")

        d = self.inside(body)
        self.assertNoResult(d)
        d.cancel()
        self.endpoint.flush()
        self.failureResultOf(d, CancelledError)
        self.nothingIsLeft()

    def test_leavingIsBounded(self) -> None:
        """A connection that does not close is aborted after a second, or at once if the Deferred is cancelled."""
        for cancel in (False, True):
            me = self.me()
            transport = self.endpoint.pump.client.transport
            transport.loseConnection = lambda: None
            closed = me.close()
            self.endpoint.flush()
            self.assertNoResult(closed)
            if cancel:
                closed.cancel()
                self.failureResultOf(closed, CancelledError)
            else:
                self.clock.advance(GOODBYE)
                self.assertIsNone(self.successResultOf(closed))
            # FakeTransport's abort is its loseConnection: real ones are tested over real sockets.
            del transport.loseConnection
            transport.abortConnection()
            self.nothingIsLeft()

    def test_stockServer(self) -> None:
        """With a stock server, calls and refusals work the same, with the same classes."""
        self.endpoint = Memory(serve(self.realm, pb.PBServerFactory))
        me = self.me(mind=Client())
        self.assertEqual(self.successResultOf(self.call(me, "whoami")), "alice")
        self.assertIsInstance(self.raised(self.call(me, "raise", "value")), ValueError)
        self.flushLoggedErrors(ValueError)
        me.close()
        self.endpoint.flush()
        for credentials in (users("alice", "x"), users("mallory")):
            self.assertIsInstance(self.raised(self.connect(credentials)), errors.BadCredentials)
        self.flushLoggedErrors()
        self.nothingIsLeft()

    def test_refusals(self) -> None:
        """The class of the error is the reason for the refusal."""
        d = self.connect(users("alice", "x"))
        self.endpoint.server.clock.advance(1)
        self.endpoint.flush()
        self.assertIs(type(self.raised(d)), errors.BadCredentials)
        self.assertIs(type(self.raised(self.connect(Anonymous()))), errors.AnonymousRefused)
        self.realm = pbkit.SingleClientRealm(Hero, clock=Clock())
        self.endpoint = Memory(serve(self.realm))
        held, first = self.me(), self.endpoint
        self.endpoint = Memory(first.server)
        error = self.raised(self.connect())
        self.assertEqual((type(error), str(error)), (errors.TooManySessions, "alice has 1 of 1 connections"))
        self.assertEqual(self.clock.getDelayedCalls(), [])
        del held

    def test_argumentsThatCannotBe(self) -> None:
        """Invalid arguments fail the Deferred, and the text says what is right."""
        for kw, kind, text in (
            ({"endpoint": "bogus:x"}, errors.ConfigError, "tcp:localhost:8787"),
            ({"mind": pb.Referenceable}, TypeError, "got the class Referenceable, expected an instance"),
            ({"endpoint": 3}, TypeError, "IStreamClientEndpoint"),
            ({"credentials": "alice"}, TypeError, "UsernamePassword"),
            ({"credentials": users("alice", 3)}, TypeError, "str or bytes"),
            ({"mind": object()}, TypeError, "pb.Referenceable"),
            ({"timeout": 0}, ValueError, "above 0"),
            ({"timeout": float("nan")}, ValueError, "above 0"),
            ({"allow": [SystemExit]}, TypeError, "subclasses of Exception"),
            ({"allow": ["x"]}, TypeError, "subclasses of Exception"),
        ):
            given: dict[str, Any] = {"endpoint": self.endpoint, "credentials": users(), **kw}
            d = pbkit.connect(reactor=self.clock, **given)
            error: Any = self.failureResultOf(d).value
            self.assertIs(type(error), kind, kw)
            self.assertIn(text, str(error))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hello(self) -> None:
        """The hello of the client reaches a pbkit server."""
        self.me(hello={"app": "game"})
        (session,) = self.realm.roster
        program = session.peer.hello["program"]
        self.assertEqual(session.peer.hello, {"goodbye": True, "app": "game", "program": program})


class StepTests(MemoryTestCase):
    """Each step that can fail."""

    def test_unreachable(self) -> None:
        """If no connection can be made, the text says what to check."""
        for why, said in (
            (ConnectionRefusedError(111, "refused"), "is the server running"),
            (DNSLookupError("no such host"), "is the host name right"),
            (OSError(101, "Network is unreachable"), "Network is unreachable"),
        ):
            self.endpoint.answer = fail(why)
            error = self.raised(self.connect())
            self.assertIs(type(error), errors.ConnectFailed)
            self.assertIn(said, str(error))
            self.assertIs(error.__cause__, why)
            self.nothingIsLeft()

    def test_notPb(self) -> None:
        """A server of another protocol is recognized by its first bytes."""
        for text, said in (
            (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
            (b"\x15\x03\x03\x00\x02\x02\x50", "tls:"),
            (b"220 mail ready\r\n", "220 m"),
            (b"\xff\xfe\xfd", "begins with"),
            (b"\x02\x80\x02\x81\x03\x81", "unsupported protocol dialect"),
        ):
            self.endpoint = Memory(Factory.forProtocol(partial(Says, text)))
            error = self.raised(self.connect())
            self.assertIs(type(error), errors.ProtocolMismatch, text)
            self.assertIn(said, str(error))
            self.nothingIsLeft()

    def test_closedAtOnce(self) -> None:
        """A server that closes before its greeting, and one that closes within it, fail with different classes."""
        for text, kind in ((b"", errors.ConnectFailed), (b"HTT", errors.ProtocolMismatch)):
            self.endpoint = Memory(Factory.forProtocol(partial(Says, text)))
            d = self.connect()
            self.endpoint.pump.server.transport.loseConnection()
            self.assertIs(type(self.raised(d)), kind)
            self.nothingIsLeft()

    def steps(self) -> list[tuple[str, Any, Any]]:
        """Return a server that is stuck in each step, with the text for it."""
        return [
            ("connecting", Memory(None, Deferred()), None),
            ("waiting for a greeting", Memory(Factory.forProtocol(Says)), None),
            ("logging in", Memory(serve(self.realm)), self.stuck),
        ]

    def stuck(self) -> None:
        """Discard the server's answers from now on."""
        self.endpoint.pump.server.sendEncoded = lambda *args: None

    def test_timedOut(self) -> None:
        """If the server is stuck, the login times out, and the text says in which step."""
        for text, endpoint, before in self.steps():
            self.endpoint = endpoint
            d = pbkit.connect(endpoint, users(), reactor=self.clock, timeout=5)
            if before is not None:
                self.endpoint.pump.pump()
                before()
            self.endpoint.flush()
            self.clock.advance(4.9)
            self.assertNoResult(d)
            self.clock.advance(0.2)
            error = self.raised(d)
            self.assertIs(type(error), errors.TimedOut)
            self.assertIsInstance(error, TimeoutError)
            self.assertIn("no answer within 5 s", str(error))
            self.assertIn(text, str(error))
            self.nothingIsLeft()

    def test_cancelled(self) -> None:
        """Cancelling in any step leaves nothing behind."""
        for _, endpoint, before in self.steps():
            self.endpoint = endpoint
            d = pbkit.connect(endpoint, users(), reactor=self.clock, timeout=5)
            if before is not None:
                self.endpoint.pump.pump()
                before()
            self.endpoint.flush()
            self.assertNoResult(d)
            d.cancel()
            self.failureResultOf(d, CancelledError)
            self.nothingIsLeft()

    def turns(self, spoil: Callable[[Any], object], mind: Any = None) -> list[Any]:
        """Interrupt the login after each round of bytes, and yield the errors of the logins that fail."""
        outcomes: list[Any] = []
        for number in range(12):
            self.endpoint = Memory(self.endpoint.server)
            d = pbkit.connect(self.endpoint, users(), reactor=self.clock, mind=mind)
            for _ in range(number):
                self.endpoint.pump.pump()
            if not d.called:
                spoil(d)
                self.endpoint.flush()
            d.addCallbacks(ClientSession.close, lambda failure: outcomes.append(failure.value))
            self.endpoint.flush()
            self.assertTrue(d.called)
            self.nothingIsLeft()
        return outcomes

    def test_cancelledAtEachTurn(self) -> None:
        """Cancelling after any round of bytes leaves nothing behind at either end."""
        kinds = [type(outcome) for outcome in self.turns(lambda d: d.cancel(), Client())]
        self.assertEqual(set(kinds), {CancelledError})
        self.assertTrue(3 < len(kinds) < 12)

    def test_lostAtEachTurn(self) -> None:
        """Losing the connection after any round of bytes fails with a class that says so."""
        for lose in (
            lambda d: self.endpoint.pump.server.transport.loseConnection(),
            lambda d: self.endpoint.pump.client.transport.loseConnection(),
        ):
            outcomes = self.turns(lose)
            self.assertTrue(1 < len(outcomes) < 12)
            for outcome in outcomes:
                self.assertIsInstance(outcome, errors.ConnectError)

    def test_connectionThatComesTooLate(self) -> None:
        """If an endpoint cannot be cancelled and connects later, the connection is aborted."""

        class Stubborn(Deferred[Any]):
            def cancel(self) -> None:
                pass

        self.endpoint.answer = Stubborn()
        d = self.connect(timeout=1)
        self.clock.advance(1)
        self.assertIs(type(self.raised(d)), errors.TimedOut)
        self.endpoint.answer.callback(self.endpoint.reach())
        self.nothingIsLeft()

    def test_lostWhileLoggingIn(self) -> None:
        """If the connection is lost while the login is being served, the text says so."""
        waiting: Deferred[Any] = Deferred()
        self.patch(self.realm, "buildAvatar", lambda avatarId: waiting)
        d = self.connect()
        self.assertNoResult(d)
        self.endpoint.pump.client.connectionLost(Failure(ConnectionLost()))
        error = self.raised(d)
        self.assertIs(type(error), errors.ConnectFailed)
        self.assertIn("while logging in", str(error))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_avatarThatIsNoReference(self) -> None:
        """A login that is not answered with a reference fails."""

        class Root(pb.Root):
            def remote_login(self, name: bytes) -> Any:
                return (b"x", Challenger())

        class Challenger(pb.Referenceable):
            def remote_respond(self, *args: Any) -> str:
                return "welcome"

        self.endpoint = Memory(pb.PBServerFactory(Root()))
        self.assertIs(type(self.raised(self.connect())), errors.ProtocolMismatch)
        self.nothingIsLeft()


class RaisedTests(MemoryTestCase):
    """Exceptions that the server raises."""

    def setUp(self) -> None:
        """Log in at a server that sends all exceptions of its methods."""
        super().setUp()
        tells = attrs.evolve(STRICT, hideErrors=False)
        self.endpoint = Memory(serve(self.realm, clock=Clock(), profile=tells))
        self.session = self.me()

    def error(self, name: str) -> Any:
        """Return the exception that arrives."""
        error = self.raised(self.call(self.session, "raise", name))
        self.flushLoggedErrors()
        return error

    def test_knownClasses(self) -> None:
        """Exceptions of Python, pbkit and stock arrive as themselves, with their text."""
        for name, kind, text in (
            ("value", ValueError, "no"),
            ("pb", pb.Error, "stock's"),
            ("denied", LoginDenied, "no"),
            ("kicked", errors.Kicked, "this session was ended by the server: bob was"),
        ):
            error = self.error(name)
            self.assertEqual((type(error), str(error)), (kind, text))
        self.assertEqual(self.error("key").args, ("it's",))
        self.assertEqual(self.error("kicked").detail, "bob was")
        error = self.raised(self.call(self.session, "nosuch"))
        self.assertEqual((type(error), str(error)), (pb.NoSuchMethod, "No such method: perspective_nosuch"))
        self.flushLoggedErrors(pb.NoSuchMethod)

    def test_unknownClasses(self) -> None:
        """Any other exception arrives as a RemoteError with its class and the classes that it derives from."""
        for name, kind in (("plain", Plain), ("told", Told)):
            error = self.error(name)
            self.assertIs(type(error), errors.RemoteError)
            self.assertEqual(error.remoteType, f"{__name__}.{kind.__name__}")
            self.assertEqual(error.remoteText, "bob's")
            self.assertEqual(str(error), f"{__name__}.{kind.__name__}: bob's")
            self.assertTrue(error.isA(Exception) and error.isA(kind) and error.isA("builtins.Exception"))
            self.assertFalse(error.isA(KeyError))

    def test_nearestAncestor(self) -> None:
        """An exception of an unknown class arrives as the nearest known class, with the name of its own."""
        for name, kind, text in (
            ("turn", ValueError, "bob's"),
            ("quota", errors.TooManySessions, "3 of 3"),
            ("outdated", errors.Kicked, "this session was ended by the server: too old"),
            ("slow", TimeoutError, "later"),
        ):
            error = self.error(name)
            self.assertEqual((type(error), str(error)), (kind, text))
            self.assertIn(f"{__name__}.", error.remoteType)

    def test_refusals(self) -> None:
        """So does a refused login: a refusal of the server's own is not taken for a wrong password."""
        for kind, known in (
            (NoQuorum, errors.LoginRefused),
            (Quota, errors.TooManySessions),
            (type("Locked", (UnauthorizedLogin,), {"__module__": "x"}), errors.BadCredentials),
            (type("Locked", (LoginDenied,), {"__module__": "x"}), errors.LoginRefused),
        ):

            class Refusing(pb.Root):
                def remote_login(self, name: bytes, kind: Any = kind) -> Any:
                    raise kind("the servers cannot agree just now")

            self.endpoint = Memory(pb.PBServerFactory(Refusing()))
            error = self.raised(self.connect())
            self.assertEqual((type(error), str(error)), (known, "the servers cannot agree just now"))
            self.flushLoggedErrors()

    def test_dangerousClasses(self) -> None:
        """Exceptions that would end a program, or mean something to a coroutine, stay remote."""
        error = self.error("stop")
        self.assertIs(type(error), errors.RemoteError)
        self.assertTrue(error.isA(StopIteration))
        # The arguments of this one are not its text.
        self.assertIsInstance(self.error("unicode"), UnicodeDecodeError)
        error = self.error("exit")
        self.assertEqual((type(error), error.remoteType), (errors.RemoteError, "builtins.SystemExit"))

    def test_allow(self) -> None:
        """Classes in `allow` arrive as themselves, even if their constructors do not take a text."""
        self.session = self.me(allow=[NotYourTurn, Awkward])
        error = self.error("turn")
        self.assertEqual((type(error), str(error)), (NotYourTurn, "bob's"))
        error = self.error("awkward")
        self.assertEqual((type(error), str(error)), (Awkward, "code 4"))

    def test_nothingIsImported(self) -> None:
        """A class name from a peer is looked up in the table, and nothing is imported."""

        fly: Any = type("Fly", (Exception,), {"__module__": "antigravity"})

        class Odd(pb.Root):
            def remote_login(self, name: bytes) -> Any:
                raise fly("away")

        self.endpoint = Memory(pb.PBServerFactory(Odd()))
        error = self.raised(self.connect())
        self.assertIs(type(error), errors.LoginRefused)
        self.assertIs(type(error.__cause__), errors.RemoteError)
        self.assertEqual(error.__cause__.remoteType, "antigravity.Fly")
        self.assertNotIn("antigravity", sys.modules)
        self.flushLoggedErrors(fly)

    def test_isLikeAnyException(self) -> None:
        """The exceptions can be trapped, printed, pickled and raised again."""
        for name, kind in (("value", ValueError), ("plain", errors.RemoteError), ("kicked", errors.SessionEnded)):
            failure = self.failureResultOf(self.call(self.session, "raise", name))
            self.flushLoggedErrors()
            self.assertIs(failure.trap(kind), kind)
            self.assertIn(type(failure.value).__name__, failure.getTraceback())
            self.assertRaises(kind, failure.raiseException)
            error: Any = failure.value
            again = pickle.loads(pickle.dumps(error))
            self.assertEqual((type(again), str(again)), (type(error), str(error)))
            self.assertEqual(getattr(again, "remoteParents", ()), getattr(error, "remoteParents", ()))
            self.assertIn(str(error), "".join(traceback.format_exception(again)))

    def test_deepReferences(self) -> None:
        """Calls on references inside an answer behave the same."""
        ((part,),) = self.successResultOf(self.call(self.session, "parts"))[0].values()
        self.assertEqual(self.successResultOf(self.call(part, "hi")), "hi")
        self.assertIs(type(self.raised(self.call(part, "nosuch"))), pb.NoSuchMethod)
        self.flushLoggedErrors(pb.NoSuchMethod)
        (session,) = self.realm.roster
        session.end(errors.Kicked, "cheating")
        self.assertIs(type(self.raised(self.call(part, "hi"))), errors.Kicked)


class CallTests(MemoryTestCase):
    """`ClientSession.callRemote`."""

    def setUp(self) -> None:
        """Log in."""
        super().setUp()
        self.mind = Client()
        self.session = self.me(mind=self.mind)

    def test_neverRaises(self) -> None:
        """A value that cannot be sent, or an invalid name, fails the Deferred, and the connection stays."""
        for args in (("echo", "x" * 1_000_000), ("echo", 2**500), (3,), ("\ud800",)):
            self.failureResultOf(self.session.callRemote(*args))
        self.assertEqual(self.successResultOf(self.call(self.session, "whoami")), "alice")
        self.assertEqual(self.endpoint.pump.client.waitingForAnswers, {})

    def test_noAnswerWanted(self) -> None:
        """With ``pbanswer=False`` the Deferred has already fired."""
        self.assertIsNone(self.successResultOf(self.session.callRemote("whoami", pbanswer=False)))

    def test_deadline(self) -> None:
        """A call has 30 s, or its ``pbtimeout``; an answer that arrives later is ignored."""
        for kw, seconds in (({}, 30.0), ({"pbtimeout": 2}, 2.0)):
            d = self.call(self.session, "wait", **kw)
            self.clock.advance(seconds - 0.1)
            self.assertNoResult(d)
            self.clock.advance(0.2)
            self.assertIs(type(self.raised(d)), errors.CallTimedOut)
        (session,) = self.realm.roster
        session.avatar.waiting[0].callback(session.avatar.part)
        d = self.call(self.session, "wait", pbtimeout=None)
        self.clock.advance(1_000_000)
        self.assertNoResult(d)
        session.avatar.waiting[-1].callback("late")
        self.endpoint.flush()
        self.assertEqual(self.successResultOf(d), "late")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_answerThatCannotBeRead(self) -> None:
        """An answer that cannot be read fails its call only. In stock the call never ends and the connection drops."""
        self.failureResultOf(self.call(self.session, "secret"), InsecureJelly)
        self.assertEqual(self.successResultOf(self.call(self.session, "whoami")), "alice")

    def test_isAnArgument(self) -> None:
        """A session that is sent arrives as what the client received at login, also inside containers."""
        self.assertTrue(self.successResultOf(self.call(self.session, "isMine", self.session)))
        self.assertEqual(len(self.successResultOf(self.call(self.session, "echo", [self.session]))), 1)

    def test_lost(self) -> None:
        """When the connection is lost, pending calls fail, and later calls fail at once."""
        d = self.call(self.session, "wait")
        ended = self.session.whenEnded()
        self.assertNoResult(ended)
        self.endpoint.pump.server.transport.loseConnection()
        self.assertIs(type(self.raised(d)), errors.Disconnected)
        self.assertIs(type(self.raised(self.session.callRemote("whoami"))), errors.Disconnected)
        self.assertIs(type(self.successResultOf(ended)), errors.Disconnected)
        self.assertIs(type(self.successResultOf(self.session.whenEnded())), errors.Disconnected)
        self.assertIsNone(self.successResultOf(self.session.close()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_kicked(self) -> None:
        """If a call is answered with the end of the session, and the connection is lost then, that is the reason."""
        (session,) = self.realm.roster
        session.end(errors.Kicked, "cheating")
        for _ in range(2):
            self.assertIs(type(self.raised(self.call(self.session, "whoami"))), errors.Kicked)
        self.endpoint.pump.server.transport.loseConnection()
        self.endpoint.flush()
        error = self.raised(self.session.callRemote("whoami"))
        self.assertEqual((type(error), error.detail), (errors.Kicked, "cheating"))

    def test_somebodyElsesEnd(self) -> None:
        """The end of another session does not end this one, as the next answer shows."""
        self.assertIs(type(self.raised(self.call(self.session, "raise", "kicked"))), errors.Kicked)
        self.assertEqual(self.successResultOf(self.call(self.session, "whoami")), "alice")
        self.endpoint.pump.server.transport.loseConnection()
        self.endpoint.flush()
        self.assertIs(type(self.raised(self.session.callRemote("whoami"))), errors.Disconnected)

    def test_leavingEndsWhatWaits(self) -> None:
        """A pending call fails when the session is closed."""
        d = self.call(self.session, "wait")
        self.session.close()
        self.assertIs(type(self.raised(d)), errors.LoggedOut)
        self.nothingIsLeft()

    def test_whateverAnErrorIs(self) -> None:
        """Whatever a server sends as an error, the call fails with an exception, and the next call is answered."""
        state = {"type": b"builtins.ValueError", "value": "x", "parents": [], "traceback": "", "count": 1}
        raised: list[dict[str, Any]] = [
            {**state, "type": value} for value in (None, 3, b"", "builtins.SystemExit", "os.system", [b"x"], b"\xff")
        ]
        odd: list[Any] = [None, 3, [[]], {}]
        raised += [{**state, key: value} for key in ("value", "parents", "traceback") for value in odd]
        raised += [{key: value for key, value in state.items() if key != left} for left in state]
        for number, each in enumerate(raised):
            self.whatever([b"twisted.spread.pb.CopyableFailure", jelly(each)], number)
        for sexp in (
            3,
            b"x",
            [b"None"],
            [b"unicode", b"x"],
            [b"list"],
            [b"tuple", 1],
            [],
            [b"nosuch.Class", 3],
            [b"remote", 7],
        ):
            self.whatever(sexp, sexp)

    def whatever(self, sexp: Any, label: object) -> None:
        """Send this as the error of a call."""
        d = self.call(self.session, "wait")
        client = self.endpoint.pump.client
        client.expressionReceived([b"error", max(client.waitingForAnswers), sexp])
        error = self.raised(d)
        self.assertIsInstance(error, Exception, label)
        self.assertIsInstance(str(error), str, label)
        self.assertFalse(isinstance(error, StopIteration), label)
        self.assertEqual(self.successResultOf(self.call(self.session, "whoami")), "alice", label)

    def goodbye(self, *args: Any) -> Deferred[Any]:
        """Goodbyes."""
        (session,) = self.realm.roster
        said: Deferred[Any] = session.mind.callRemote("goodbye", *args)
        self.endpoint.flush()
        return said

    def test_goodbye(self) -> None:
        """After a goodbye every call fails with its reason. The mind need not have such a method."""
        ended = self.session.whenEnded()
        self.assertIsNone(self.successResultOf(self.goodbye("Replaced", "from a phone")))
        error = self.raised(self.session.callRemote("whoami"))
        self.assertEqual((type(error), error.detail), (errors.Replaced, "from a phone"))
        self.assertIs(type(self.successResultOf(ended)), errors.Replaced)
        self.goodbye("Kicked", "")
        self.assertIs(type(self.raised(self.session.callRemote("whoami"))), errors.Replaced)

    def test_goodbyeIsToldToo(self) -> None:
        """If the mind has such a method, it is called."""
        told = []

        class Mind(Client):
            def remote_goodbye(self, reason: str, detail: str) -> str:
                told.append((reason, detail))
                return "bye"

        self.session.close()
        self.endpoint.flush()
        self.session = self.me(mind=Mind())
        self.assertEqual(self.successResultOf(self.goodbye("Shutdown", "")), "bye")
        self.assertEqual(told, [("Shutdown", "")])
        self.assertIs(type(self.raised(self.session.callRemote("whoami"))), errors.Shutdown)

    def test_oddGoodbyes(self) -> None:
        """A goodbye with an unknown reason ends the session; an invalid goodbye does not."""
        self.failureResultOf(self.goodbye())
        (session,) = self.realm.roster
        self.failureResultOf(self.goodbye(session.avatar.part))
        self.assertEqual(self.successResultOf(self.call(self.session, "whoami")), "alice")
        self.assertIsNone(self.successResultOf(self.goodbye("CallTimedOut", "?")))
        self.assertIs(type(self.raised(self.session.callRemote("whoami"))), errors.SessionEnded)
        self.flushLoggedErrors()

    def test_brokenProtocol(self) -> None:
        """A server that sends invalid data after the login is disconnected; calls say so, and no error is logged."""
        d = self.call(self.session, "wait")
        self.endpoint.pump.server.transport.write(b"\xff" * 10)
        error = self.raised(d)
        self.assertIs(type(error), errors.Disconnected)
        self.assertIn("does not speak Perspective Broker", str(error))


class SocketTests(TestCase):
    """Tests over real sockets."""

    timeout = 60

    def setUp(self) -> None:
        """Take the installed reactor."""
        from twisted.internet import reactor

        self.reactor: Any = reactor

    async def serve(self, factory: Any, kind: str = "tcp:0:interface=127.0.0.1") -> Any:
        """Listen for the duration of the test, and return the port."""
        port = await serverFromString(self.reactor, kind).listen(factory)
        self.addCleanup(port.stopListening)
        return port.getHost().port

    async def fails(self, endpoint: Any, timeout: float = 20) -> Any:
        """Connect, and return the error. trial reports what is left behind."""
        try:
            await pbkit.connect(endpoint, users(), timeout=timeout)
        except Exception as error:
            return error
        raise AssertionError("it should fail")

    def pb(self) -> Any:
        """Return a server factory."""
        self.realm = CachingRealm(Hero)
        return serve(self.realm)

    async def test_logsInAndOut(self) -> None:
        """Connecting works with the installed reactor and a description, closes in an orderly way, and logs nothing."""
        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        port = await self.serve(self.pb())
        async with pbkit.connect(f"tcp:127.0.0.1:{port}", users(), mind=Client()) as me:
            self.assertEqual(await me.callRemote("whoami"), "alice")
        await self.gone()
        ours = [event for event in events if str(event.get("log_namespace")).startswith("pbkit.client")]
        self.assertEqual(ours, [])

    async def gone(self) -> None:
        """Wait until the server has ended the session."""
        while len(self.realm.roster):
            waiting: Deferred[None] = Deferred()
            self.reactor.callLater(0.01, waiting.callback, None)
            await waiting
        self.assertEqual(self.realm.counters.ends, {"LoggedOut": 1})

    async def test_callbacks(self) -> None:
        """The result of connect works as a Deferred."""
        port = await self.serve(self.pb())
        d: Deferred[Any] = pbkit.connect(TCP4ClientEndpoint(self.reactor, "127.0.0.1", port), users())
        d.addCallback(lambda me: me.callRemote("whoami").addBoth(lambda name: me.close().addCallback(lambda _: name)))
        self.assertEqual(await d, "alice")
        await self.gone()

    async def test_unreachable(self) -> None:
        """A port without a server and an invalid path fail with ConnectFailed."""
        self.assertIs(type(await self.fails("tcp:127.0.0.1:1")), errors.ConnectFailed)
        self.assertIs(type(await self.fails("unix:nosuch")), errors.ConnectFailed)

    async def test_wrongPassword(self) -> None:
        """When BadCredentials arrives, the connection is closed."""
        port = await self.serve(self.pb())
        with self.assertRaises(errors.BadCredentials):
            await pbkit.connect(f"tcp:127.0.0.1:{port}", users("alice", "x"))

    async def test_notPb(self) -> None:
        """A server that sends garbage, and one that sends nothing, fail with the right classes."""
        port = await self.serve(Factory.forProtocol(lambda: Says(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
        self.assertIs(type(await self.fails(f"tcp:127.0.0.1:{port}")), errors.ProtocolMismatch)
        port = await self.serve(Factory.forProtocol(Says))
        self.assertIs(type(await self.fails(f"tcp:127.0.0.1:{port}", 0.2)), errors.TimedOut)

    async def test_cancelled(self) -> None:
        """Cancelling leaves nothing that trial would report."""
        port = await self.serve(Factory.forProtocol(Says))
        for later in (0.0, 0.05):
            d = pbkit.connect(f"tcp:127.0.0.1:{port}", users())
            self.reactor.callLater(later, d.cancel)
            with self.assertRaises(CancelledError):
                await d

"""What a caller is told of an exception: each call is answered, with the nearest class, and nothing of the server's."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Iterator
from typing import Any, cast

from twisted.cred.credentials import UsernamePassword
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.python.failure import Failure
from twisted.spread import banana, jelly, pb
from twisted.trial.unittest import TestCase

import pbkit
from pbkit import CachingRealm, dropin
from pbkit.client.exceptions import allowed, exceptionFrom
from pbkit.errors import RemoteError
from pbkit.plain import TEXT
from pbkit.wire.calls import SentFailure, passedOn
from tests.support import PASSWORD, Client, Recorder, Wire, serve
from tests.wire.things import WireCase

SECRET = "the secret of the server"


class Unspeakable(pb.Error):
    """Has no text."""

    def __str__(self) -> str:
        raise ValueError(SECRET)


class NoText(pb.Error):
    """Has something else in the place of a text."""

    def __str__(self) -> str:
        return 5  # type: ignore[return-value]  # noqa: PLE0307


class Sent(pb.Error, pb.Copyable):
    """Is sent as an object, which cannot be done."""

    def getStateToCopy(self) -> dict[str, object]:
        """Fail."""
        raise ValueError(SECRET)


#: What methods raise, and what the caller of a drop-in server is told: the class and the text.
RAISED: list[tuple[Callable[[], BaseException], str, str]] = [
    (lambda: SystemExit(3), "builtins.SystemExit", "3"),
    (lambda: KeyboardInterrupt(), "builtins.KeyboardInterrupt", ""),
    (lambda: GeneratorExit(), "builtins.GeneratorExit", ""),
    (lambda: asyncio.CancelledError("gone"), "asyncio.exceptions.CancelledError", "gone"),
    (lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "builtins.UnicodeDecodeError", "'utf-8' codec can't"),
    (lambda: ExceptionGroup("several", [ValueError(1)]), "builtins.ExceptionGroup", "several (1 sub-exception)"),
    (lambda: KeyError(5), "builtins.KeyError", "5"),
    (lambda: KeyError("five"), "builtins.KeyError", "'five'"),
    (lambda: jelly.InsecureJelly("no"), "twisted.spread.jelly.InsecureJelly", "no"),
    (lambda: ValueError("caf\udce9"), "builtins.ValueError", "caf\\udce9"),
]

#: What is told in a strict server, too: these derive from pb.Error.
TOLD: list[tuple[Callable[[], BaseException], str, str]] = [
    (lambda: pb.Error("caf\udce9"), "twisted.spread.pb.Error", "caf\\udce9"),
    (lambda: pb.Error("é" * 700_000), "twisted.spread.pb.Error", "ééé"),
    (lambda: Unspeakable(), "tests.wire.test_errors.Unspeakable", "<exception str() failed>"),
    (lambda: NoText(), "tests.wire.test_errors.NoText", "<exception str() failed>"),
    (lambda: Sent("as it is"), "tests.wire.test_errors.Sent", "as it is"),
]


class Raising(Recorder):
    """Raises what it is told to, in each way."""

    error: Callable[[], BaseException]

    def perspective_atOnce(self) -> None:
        """Raise."""
        raise self.error()

    def perspective_failed(self) -> Deferred[None]:
        """Return what has failed."""
        return fail(Failure(self.error()))

    def perspective_later(self) -> Deferred[None]:
        """Fail later."""
        return succeed(None).addCallback(lambda _: self.perspective_atOnce())

    async def perspective_coroutine(self) -> None:
        """Raise in a coroutine."""
        raise self.error()


WAYS = ("atOnce", "failed", "later", "coroutine")


class ErrorTests(WireCase):
    """Exceptions of methods, as a stock client has them."""

    def answers(self, server: Any, error: Callable[[], BaseException]) -> Iterator[Any]:
        """The failure of a call, for each way of raising."""
        realm = CachingRealm(Raising, clock=self.clock)
        wire = Wire(serve(realm, server) if server else serve(realm, clock=self.clock))
        avatar = self.successResultOf(wire.login("alice", Client()))
        (session,) = realm.roster
        session.avatar.error = error
        for way in WAYS:
            yield self.error(avatar, way, wire=wire)
            # The connection lives.
            self.assertEqual(self.get(avatar, "whoami", wire=wire), "alice")
        self.flushLoggedErrors()
        wire.lose()

    def test_dropin(self) -> None:
        """A drop-in server tells the class and the text, whatever it is."""
        for error, name, text in RAISED + TOLD:
            for failure in self.answers(dropin.PBServerFactory, error):
                self.assertEqual(failure.type, name.encode())
                self.assertEqual(failure.value[: len(text)], text)
                self.assertTrue(failure.check(name))

    def test_strict(self) -> None:
        """A strict server tells those of a `pb.Error`, and of all others an error id."""
        for error, name, text in TOLD:
            for failure in self.answers(None, error):
                self.assertEqual(failure.type, name.encode())
                self.assertEqual(failure.value[: len(text)], text)
                self.assertTrue(failure.check(pb.Error))
        for error, _, _ in RAISED:
            for failure in self.answers(None, error):
                self.assertEqual(failure.type, b"pbkit.errors.InternalError")

    def test_answersThatAreNoText(self) -> None:
        """An answer, or an argument, with half of a surrogate pair costs that call only."""

        class Odd(Raising):
            def perspective_odd(self) -> Any:
                return "caf\udce9"

            async def perspective_oddLater(self) -> Any:
                return [{"it": ("caf\udce9",)}]

            def perspective_oddCall(self) -> Any:
                (live,) = self.sessions
                return live.mind.callRemote("tell", "caf\udce9")

        realm = CachingRealm(Odd, clock=self.clock)
        wire = Wire(serve(realm, clock=self.clock))
        avatar = self.successResultOf(wire.login("alice", Client()))
        for method in ("odd", "oddLater", "oddCall"):
            failure = self.error(avatar, method, wire=wire)
            self.assertEqual(failure.type, b"pbkit.errors.CannotSend")
            self.assertIn("not UTF-8", failure.value)
            self.assertEqual(self.get(avatar, "whoami", wire=wire), "alice")
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_long(self) -> None:
        """A long text is cut: to what can be sent at all in drop-in use, else to 64 KiB."""
        for server, most in ((dropin.PBServerFactory, banana.SIZE_LIMIT), (None, TEXT)):
            for failure in self.answers(server, lambda: pb.Error("é" * 700_000)):
                size = len(failure.value.encode("utf-8"))
                self.assertTrue(most - 8 < size <= most, size)
                self.assertTrue(failure.value.endswith("..."))

    def test_nothingOfTheServers(self) -> None:
        """No file, function or other text of the server is sent."""
        for server in (dropin.PBServerFactory, None):
            for error, _, _ in RAISED + TOLD:
                for failure in self.answers(server, error):
                    told = repr({**vars(failure), "value": ""}) + failure.getTraceback()[-200:]
                    self.assertNotIn(".py", told)
                    self.assertNotIn(SECRET, repr(vars(failure)))

    def test_unsafeTracebacks(self) -> None:
        """They are sent if the program wants that, also of what has no text."""
        realm = CachingRealm(Raising, clock=self.clock)
        for server in (pbkit.ServerFactory, dropin.PBServerFactory):
            wire = Wire(serve(realm, server, unsafeTracebacks=True))
            avatar = self.successResultOf(wire.login("alice", Client()))
            (session,) = realm.roster
            for error in (lambda: ValueError("caf\udce9"), Unspeakable):
                session.avatar.error = error
                self.assertIn("perspective_atOnce", self.error(avatar, "atOnce", wire=wire).traceback)
            self.flushLoggedErrors()
            wire.lose()

    def test_beforeLogin(self) -> None:
        """A refusal with a long text leaves room in what a client accepts before its login."""

        class Refusing(CachingRealm):
            def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
                raise pb.Error("é\udce9" * 100_000)

        wire = Wire(serve(Refusing(Recorder, clock=self.clock), clock=self.clock))
        failure = self.failureResultOf(wire.login("alice"))
        self.assertLessEqual(len(failure.value.encode("utf-8")), 1000)


class ConvertedTests(WireCase):
    """The same exceptions, as `pbkit.connect` raises them."""

    def test_classes(self) -> None:
        """The class stays, also of those whose arguments are not their text; and so does the text."""
        table = allowed()
        wire = Wire(serve(CachingRealm(Raising, clock=self.clock), dropin.PBServerFactory))
        avatar = self.successResultOf(wire.login("alice", Client()))
        (session,) = {channel.session for channel in wire.server.owners.values()}
        for error, name, text in RAISED:
            session.avatar.error = error
            failure = self.error(avatar, "atOnce", wire=wire)
            made = exceptionFrom(failure, table)
            assert made is not None
            raised = error()
            if isinstance(raised, Exception):
                self.assertIsInstance(made, type(raised))
                self.assertEqual(str(made)[: len(text)], text)
            else:
                # These would end the client.
                assert isinstance(made, RemoteError)
                self.assertEqual(made.remoteType, name)
            again = pickle.loads(pickle.dumps(made))
            self.assertEqual(str(again), str(made))
            self.assertIsInstance(again, type(raised) if isinstance(raised, Exception) else RemoteError)
        self.flushLoggedErrors()


class Front(Recorder):
    """The avatar of a gateway: passes each call on to a server behind."""

    behind: Any

    def perspective_passed(self, way: str) -> Deferred[Any]:
        """Return what the server behind answers."""
        answer: Deferred[Any] = self.behind.callRemote(way)
        return answer

    async def perspective_awaited(self, way: str) -> Any:
        """Await it."""
        return await self.behind.callRemote(way)


class GatewayTests(TestCase):
    """A server whose methods call another server, over TCP."""

    timeout = 60

    async def told(self, behind: Any, front: Any, error: Callable[[], BaseException], client: Any) -> list[Failure]:
        """The failures of calls that pass an error on."""
        from twisted.internet import reactor

        Raising.error = staticmethod(error)
        ports = []
        for avatars, kind in ((Raising, behind), (Front, front)):
            port: Any = reactor.listenTCP(0, serve(CachingRealm(avatars), kind), interface="127.0.0.1")
            self.addCleanup(port.stopListening)
            ports.append(port.getHost().port)
        back = TCP4ClientEndpoint(reactor, "127.0.0.1", ports[0])
        if client is None:
            session = await pbkit.connect(back, UsernamePassword(b"alice", PASSWORD), reactor=reactor)
            Front.behind = session.reference
            self.addCleanup(session.close)
        else:
            factory = client()
            broker: Any = await back.connect(factory)
            Front.behind = await factory.login(UsernamePassword(b"alice", PASSWORD), None)
            self.addCleanup(broker.transport.abortConnection)
        factory = pb.PBClientFactory()
        broker = cast(Any, await TCP4ClientEndpoint(reactor, "127.0.0.1", ports[1]).connect(factory))
        avatar = await factory.login(UsernamePassword(b"alice", PASSWORD), None)
        failures: list[Failure] = []
        for method in ("passed", "awaited"):
            answer = avatar.callRemote(method, "atOnce")
            answer.addErrback(failures.append)
            await answer
        broker.transport.abortConnection()
        del avatar
        self.flushLoggedErrors()
        return failures

    async def test_toldOn(self) -> None:
        """An error that the server behind told keeps its class."""
        for behind in (pbkit.ServerFactory, dropin.PBServerFactory, pb.PBServerFactory):
            for client in (None, pbkit.ClientFactory, dropin.PBClientFactory):
                told = await self.told(behind, pbkit.ServerFactory, lambda: NotYourTurn("wait"), client)
                # A drop-in client raises stock's RemoteError, which does not know that it is a pb.Error.
                for failure in told[: 1 if client is dropin.PBClientFactory else 2]:
                    self.assertEqual(failure.type, b"tests.wire.test_errors.NotYourTurn", (behind, client))
                    self.assertTrue(failure.check(pb.Error))
                    self.assertEqual(failure.value, "wait")

    async def test_notTold(self) -> None:
        """What the server behind did not mean for its clients is an error id for those of the gateway."""
        for behind in (pbkit.ServerFactory, dropin.PBServerFactory):
            told = await self.told(behind, pbkit.ServerFactory, lambda: ValueError(SECRET), pbkit.ClientFactory)
            for failure in told:
                self.assertEqual(failure.type, b"pbkit.errors.InternalError")
                self.assertNotIn(SECRET, str(failure.value))

    async def test_dropinGateway(self) -> None:
        """A drop-in gateway passes each class on."""
        for failure in await self.told(
            pb.PBServerFactory, dropin.PBServerFactory, lambda: ValueError("5"), pbkit.ClientFactory
        ):
            self.assertEqual((failure.type, failure.value), (b"builtins.ValueError", "5"))


class NotYourTurn(pb.Error):
    """Told to clients."""


class NameTests(WireCase):
    """Names of classes that cannot be sent as they are."""

    def test_namesThatAreNoText(self) -> None:
        """They are escaped. In drop-in use such an error of another server closed the connection."""
        odd = type("Odd", (pb.Error,), {"__module__": "caf\udce9"})
        for error in (pb.RemoteError("caf\udce9.Odd", "v", "t"), odd("v")):
            for broker in (pbkit.Broker(0), dropin.Broker(0)):
                sent = SentFailure(passedOn(Failure(error)), TEXT)
                received: Any = broker.unserialize(broker.serialize(sent))
                self.assertEqual(received.type, b"caf\\udce9.Odd")
                self.assertTrue(received.check("caf\\udce9.Odd"))

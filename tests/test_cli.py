"""`pbkit.cli` and `pbkit.command`: the `pbkit` command, without a process of its own."""

from __future__ import annotations

import gc
import json
import os
import re
import sys
from decimal import Decimal
from io import StringIO
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.test.iosim import connectedServerAndClient
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

import pbkit
from pbkit import CachingRealm, ServerFactory
from pbkit.cli import callParser, main
from pbkit.client.session import GOODBYE
from pbkit.command.asjson import oneLine, parseArgument, toJson
from pbkit.command.onecall import CallFailed, Connector, Status, callOnce
from pbkit.demo import DemoAvatar


class Hero(DemoAvatar):
    """An avatar with methods that fail or never answer."""

    def perspective_slow(self) -> Deferred[None]:
        """Never answer."""
        return Deferred()

    def perspective_fail(self) -> None:
        """Fail with a text that contains control characters."""
        raise pb.Error("no\n\x1b[31mway")


class StockAvatar(pb.Avatar):
    """A stock avatar."""

    def perspective_greet(self) -> str:
        """Return a greeting."""
        return "hello"

    def perspective_fail(self) -> None:
        """Raise an exception that stock logs."""
        raise ValueError("stock says no")


@implementer(IRealm)
class StockRealm:
    """A stock realm."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """`IRealm`."""
        return pb.IPerspective, StockAvatar(), lambda: None


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Connects to a server in memory, or fails."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.end: Any = None
        self.pump: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect, or return the prepared answer."""
        if isinstance(self.server, Deferred):
            return self.server
        client, self.end, self.pump = connectedServerAndClient(
            lambda: self.server.buildProtocol(None), lambda: factory.buildProtocol(None)
        )
        return succeed(client)


class Says(Protocol):
    """A server that sends one text and does not speak PB."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def connectionMade(self) -> None:
        """Send the text."""
        if self.text:
            self.transport.write(self.text)  # type: ignore[union-attr]


def users() -> list[Any]:
    """Return checkers for alice and for anonymous users."""
    return [InMemoryUsernamePasswordDatabaseDontUse(alice=b"sesame"), AllowAnonymousAccess()]


class OneCallTests(SynchronousTestCase):
    """`callOnce`."""

    def run_(
        self,
        server: Any,
        method: str = "greet",
        *args: Any,
        user: bytes | None = b"alice",
        password: bytes = b"sesame",
    ) -> Deferred[Any]:
        """Return the outcome of a call."""
        self.clock = Clock()
        self.endpoint = Endpoint(server)
        credentials: Any = Anonymous() if user is None else UsernamePassword(user, password)
        connector = Connector(self.clock, self.endpoint, credentials, 30)
        result: Deferred[Any] = Deferred.fromCoroutine(callOnce(connector, method, args))
        self.flush()
        return result

    def flush(self) -> None:
        """Deliver all bytes in transit."""
        if self.endpoint.pump is not None:
            self.endpoint.pump.flush()

    def served(self) -> ServerFactory:
        """Return a pbkit server."""
        self.realm = CachingRealm(Hero)
        return ServerFactory(Portal(self.realm, users()), clock=Clock())

    def stock(self) -> Any:
        """Return a stock server."""
        return pb.PBServerFactory(Portal(StockRealm(), users()))

    def failed(self, result: Deferred[Any], status: Status) -> str:
        """Check that a call failed with a status and left nothing behind. Return the text."""
        clock = getattr(self.endpoint.server, "clock", None)
        if clock is not None:
            # A wrong password is answered after a second.
            clock.advance(1)
            self.flush()
        error = self.failureResultOf(result, CallFailed).value
        assert isinstance(error, CallFailed)
        self.assertIs(error.status, status)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return str(error)

    def test_answerComes(self) -> None:
        """It logs in, calls, returns the answer and logs out, and leaves no timer."""
        self.assertEqual(self.successResultOf(self.run_(self.served())), "<1>hello alice")
        self.assertEqual(self.realm.counters.ends, {"LoggedOut": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_argumentsGoAlong(self) -> None:
        """The method receives the arguments unchanged."""
        value = [1, "zoë", {"a": None}]
        self.assertEqual(self.successResultOf(self.run_(self.served(), "echo", value)), value)

    def test_stockServerAnswers(self) -> None:
        """It works with a stock server, by name and anonymously."""
        self.assertEqual(self.successResultOf(self.run_(self.stock())), "hello")
        self.assertEqual(self.successResultOf(self.run_(self.stock(), user=None)), "hello")

    def test_wrongPasswordIsRefused(self) -> None:
        """A wrong password has the same text from pbkit and stock servers."""
        for server in [self.served(), self.stock()]:
            for user, password in [(b"alice", b"x"), (b"bob", b"sesame")]:
                said = self.failed(self.run_(server, user=user, password=password), Status.REFUSED)
                self.assertEqual(said, "login refused: unknown user or wrong password")
            self.flushLoggedErrors()

    def test_anonymousIsRefused(self) -> None:
        """A refused anonymous login is reported, from pbkit and stock servers."""
        said = self.failed(self.run_(self.served(), user=None), Status.REFUSED)
        self.assertIn("accepts no anonymous logins", said)
        server: Any = pb.PBServerFactory(Portal(StockRealm(), users()[:1]))
        said = self.failed(self.run_(server, user=None), Status.REFUSED)
        self.assertIn("login refused: this server accepts no anonymous", said)
        self.flushLoggedErrors()

    def test_methodThatIsNotThereFails(self) -> None:
        """A missing method is reported with the error class, and the session is logged out."""
        said = self.failed(self.run_(self.served(), "nosuch"), Status.REMOTE_ERROR)
        self.assertIn("nosuch failed: pbkit.errors.NoSuchMethod: ", said)
        self.assertEqual(self.realm.counters.ends, {"LoggedOut": 1})

    def test_methodThatRaisesFails(self) -> None:
        """An exception of the method is reported, also from a stock server."""
        said = self.failed(self.run_(self.served(), "fail"), Status.REMOTE_ERROR)
        self.assertIn("twisted.spread.pb.Error: no\n\x1b[31mway", said)
        said = self.failed(self.run_(self.stock(), "fail"), Status.REMOTE_ERROR)
        self.assertEqual(said, "fail failed: builtins.ValueError: stock says no")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_argumentThatCannotBeSentIsWrongUsage(self) -> None:
        """An argument that cannot be sent is a usage error."""
        said = self.failed(self.run_(self.served(), "echo", "x" * 1_000_000), Status.USAGE)
        self.assertIn("cannot be sent", said)
        said = self.failed(self.run_(self.served(), "echo", 2**500), Status.USAGE)
        self.assertIn("cannot be sent", said)
        # Stock's call leaves a Deferred without callbacks, which fails when the connection ends.
        gc.collect()
        self.flushLoggedErrors(pb.PBConnectionLost)

    def test_serverThatIsNotThereIsUnreachable(self) -> None:
        """A refused connection is reported."""
        said = self.failed(self.run_(fail(ConnectionRefusedError(111, "refused"))), Status.UNREACHABLE)
        self.assertIn("cannot connect: Connection was refused", said)

    def test_serverThatIsNoPbIsUnreachable(self) -> None:
        """A server that closes the connection, or speaks another protocol, is reported."""
        result = self.run_(Factory.forProtocol(lambda: Says(b"")))
        self.endpoint.end.transport.loseConnection()
        self.flush()
        self.assertIn("is it a Perspective Broker server", self.failed(result, Status.UNREACHABLE))
        said = self.failed(self.run_(Factory.forProtocol(lambda: Says(b"HTTP/1.1 400 No\r\n"))), Status.UNREACHABLE)
        self.assertIn("does not speak Perspective Broker: it is an HTTP server", said)

    def test_connectionThatIsLostIsUnreachable(self) -> None:
        """A lost connection is reported together with the call in progress."""
        result = self.run_(self.served(), "slow")
        self.assertNoResult(result)
        self.endpoint.pump.client.connectionLost(Failure(ConnectionLost()))
        said = self.failed(result, Status.UNREACHABLE)
        self.assertIn("lost while calling slow", said)
        result = self.run_(self.served(), "slow")
        self.endpoint.pump.client.connectionLost(Failure(ConnectionDone()))
        said = self.failed(result, Status.UNREACHABLE)
        self.assertEqual(said, "the connection of this session was lost while calling slow: the server closed it")

    def test_timeIsBounded(self) -> None:
        """Connecting, logging in and calling each end at the timeout."""
        for server, method, doing in [
            (Deferred(), "greet", "connecting"),
            (Factory.forProtocol(lambda: Says(b"")), "greet", "waiting for a greeting"),
            (self.served(), "slow", "calling slow"),
        ]:
            result = self.run_(server, method)
            self.clock.advance(29.9)
            self.assertNoResult(result)
            self.clock.advance(0.2)
            self.flush()
            said = self.failed(result, Status.TIMED_OUT)
            self.assertEqual(re.split("[;,] ", said)[0], f"no answer within 30 s while {doing}")
            self.assertEqual("use TLS exactly" in said, doing == "waiting for a greeting")

    def test_goodbyeIsBounded(self) -> None:
        """A connection that does not close delays the result by a second at most."""
        result = self.run_(self.served(), "slow")
        transport = self.endpoint.pump.client.transport
        self.patch(transport, "loseConnection", lambda: None)
        self.clock.advance(30)
        self.assertNoResult(result)
        self.clock.advance(GOODBYE)
        self.failed(result, Status.TIMED_OUT)


class ToJsonTests(SynchronousTestCase):
    """`toJson`."""

    def test_plainAnswersAreJson(self) -> None:
        """JSON types are not marked."""
        for answer in [None, True, 3, 1.5, "zoë", [1, [2]], {"a": {"b": None}, "": []}]:
            self.assertEqual(json.loads(toJson(answer)), answer)

    def test_otherAnswersAreMarked(self) -> None:
        """Other types are marked by the only key of an object."""
        for answer, marked in [
            (b"\xff\x00", {"bytes": "/wA="}),
            ((1, (2,)), {"tuple": [1, {"tuple": [2]}]}),
            ({3}, {"set": [3]}),
            (frozenset(["a"]), {"set": ["a"]}),
            ({1: "a", b"k": 2}, {"dict": [[1, "a"], [{"bytes": "aw=="}, 2]]}),
            (float("nan"), {"float": "nan"}),
            (float("-inf"), {"float": "-inf"}),
            (Decimal("1.50"), {"object": "decimal.Decimal: 1.50"}),
        ]:
            self.assertEqual(json.loads(toJson(answer)), marked)

    def test_answerThatLooksMarkedIsMarked(self) -> None:
        """A dict that looks like a mark is marked itself."""
        self.assertEqual(json.loads(toJson({"bytes": "x"})), {"dict": [["bytes", "x"]]})
        self.assertEqual(json.loads(toJson({"error": "x"})), {"dict": [["error", "x"]]})
        self.assertEqual(json.loads(toJson({"bytes": "x", "y": 1})), {"bytes": "x", "y": 1})

    def test_cycleIsMarked(self) -> None:
        """A container inside itself is marked. A container that occurs twice is shown twice."""
        answer: list[Any] = [1]
        answer.append(answer)
        self.assertEqual(json.loads(toJson(answer)), [1, {"cycle": True}])
        twice = [1]
        self.assertEqual(json.loads(toJson([twice, twice])), [[1], [1]])

    def test_objectThatCannotBeShownIsShown(self) -> None:
        """An object whose `__str__` raises is shown without its text."""

        class Rude:
            def __str__(self) -> str:
                raise ValueError

        self.assertIn("Rude", json.loads(toJson(Rude()))["object"])

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.recursive(st.text() | st.binary() | st.integers(), lambda s: st.lists(s) | st.tuples(s)))
    def test_isOneLineOfAscii(self, answer: Any) -> None:
        """The output is always printable ASCII."""
        text = toJson(answer)
        self.assertTrue(text.isascii() and text.isprintable(), text)


class ArgumentTests(SynchronousTestCase):
    """The command line."""

    def wrong(self, *argv: str) -> str:
        """Return the one-line error for a command line."""
        err = StringIO()
        self.patch(sys, "stderr", err)
        self.assertEqual(self.assertRaises(SystemExit, main, list(argv)).code, Status.USAGE)
        said = err.getvalue()
        self.assertEqual(said.count("\n"), 1, said)
        return said

    def shown(self, *argv: str) -> str:
        """Return the output of a command line that exits with status 0."""
        out = StringIO()
        self.patch(sys, "stdout", out)
        self.assertEqual(self.assertRaises(SystemExit, main, list(argv)).code, 0)
        return out.getvalue()

    def test_jsonIsReadAsJson(self) -> None:
        """An argument that is valid JSON is that value, anything else is a string."""
        for text, value in [
            ("3", 3),
            ("-3", -3),
            ("1.5", 1.5),
            ("null", None),
            ("true", True),
            ('"3"', "3"),
            ('[1, {"a": "b"}]', [1, {"a": "b"}]),
            ("three", "three"),
            ("", ""),
            ("NaN", "NaN"),
            ("-Infinity", "-Infinity"),
            ("[1", "[1"),
            ("[" * 100_000, "[" * 100_000),
        ]:
            self.assertEqual(parseArgument(text), value)

    def test_optionsStandAnywhere(self) -> None:
        """Options may precede, follow or separate the arguments."""
        for argv in [
            ["--user", "a", "tcp:h:1", "m", "1", "-2"],
            ["tcp:h:1", "--user", "a", "m", "1", "-2"],
            ["tcp:h:1", "m", "1", "--user", "a", "-2"],
            ["tcp:h:1", "m", "1", "-2", "--user", "a"],
        ]:
            options = callParser().parse_intermixed_args(argv)
            self.assertEqual(
                (options.endpoint, options.method, options.arguments, options.user),
                ("tcp:h:1", "m", ["1", "-2"], "a"),
            )

    def test_wrongUsageIsOneLine(self) -> None:
        """A usage error is one line, with status 2."""
        self.assertIn("expected call, watch or init", self.wrong())
        self.assertIn("nonsense", self.wrong("nonsense"))
        self.assertIn("ENDPOINT", self.wrong("call", "--anonymous"))
        said = self.wrong("call", "tcp:h:1", "--anonymous")
        self.assertIn("METHOD", said)
        self.assertNotIn("ARGUMENT", said)
        self.assertIn("--user NAME or --anonymous", self.wrong("call", "tcp:h:1", "m"))
        self.assertIn("--user NAME or", self.wrong("call", "tcp:h:1", "m", "--user", "a", "--anonymous"))
        self.assertIn("--password", self.wrong("call", "tcp:h:1", "m", "--user", "a", "--password", "x"))
        for seconds in ["0", "-1", "nan", "inf", "soon"]:
            said = self.wrong("call", "tcp:h:1", "m", "--anonymous", f"--timeout={seconds}")
            self.assertIn("number of seconds", said)

    def test_passwordComesFromTheEnvironmentOrAPrompt(self) -> None:
        """Without PBKIT_PASSWORD and without a terminal, the error says what to do."""
        self.patch(os, "environ", {key: value for key, value in os.environ.items() if key != "PBKIT_PASSWORD"})
        self.patch(sys, "stdin", StringIO())
        self.assertIn("PBKIT_PASSWORD", self.wrong("call", "tcp:h:1", "m", "--user", "alice"))

    def test_emptyPasswordIsTold(self) -> None:
        """An empty PBKIT_PASSWORD is a usage error that says so, not a wrong password."""
        self.patch(os, "environ", {**os.environ, "PBKIT_PASSWORD": ""})
        self.assertIn("PBKIT_PASSWORD is empty: set it", self.wrong("call", "tcp:h:1", "m", "--user", "alice"))

    def test_usageErrorsSayWhatToDo(self) -> None:
        """Common mistakes have an error that says what to do."""
        for argv, expected in [
            (["call", "tcp:8821", "m", "--anonymous"], "did you mean tcp:localhost:8821?"),
            (["call", "h:8821", "m", "--anonymous"], "did you mean tcp:h:8821?"),
            (["call", "tcp:h:99999", "m", "--anonymous"], "invalid port '99999', expected 1 to 65535"),
            (["watch", "localhost", "--anonymous"], "Expected for example tcp:localhost:8787"),
            (["call", "tcp:h:1", "m", "-x", "--anonymous"], "put -- before an ARGUMENT that begins with -"),
            (["call", "tcp:h:1", "m", "--user=a", "--password=x"], "read from --password-file or from PBKIT_PASSWORD"),
            (["call", "tcp:h:1", "m", "--anonymous", "--timeout=0"], "got '0', expected a number of seconds above 0"),
        ]:
            self.assertIn(expected, self.wrong(*argv))

    def test_helpHasExamplesAndStatuses(self) -> None:
        """--help has examples and exit statuses."""
        shown = self.shown("call", "--help")
        for part in ["examples:", "PBKIT_PASSWORD", "exit status:", "--timeout SECONDS"]:
            self.assertIn(part, shown)
        for status in Status:
            self.assertIn(f" {status.value} ", shown)
        self.assertIn("call", self.shown("--help"))

    def test_showsTheVersion(self) -> None:
        """--version prints pbkit's version."""
        self.assertEqual(self.shown("--version"), f"pbkit {pbkit.__version__}\n")

    def test_textFromElsewhereIsTamed(self) -> None:
        """Text from the server is shown on one line, with control characters escaped."""
        self.assertEqual(oneLine("no\n\t\x1b[31mway \x9b \u202e zoë"), "no \\u001b[31mway \\u009b \\u202e zoë")

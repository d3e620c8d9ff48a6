"""`pbkit.cli` and `pbkit.command`: the `pbkit` command, short of the process that it runs in."""

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
    """An avatar with something wrong in each method."""

    def perspective_slow(self) -> Deferred[None]:
        """Never answers."""
        return Deferred()

    def perspective_fail(self) -> None:
        """Fails, with a text that a terminal would obey."""
        raise pb.Error("no\n\x1b[31mway")


class StockAvatar(pb.Avatar):
    """An avatar as stock has it."""

    def perspective_greet(self) -> str:
        """Greet."""
        return "hello"

    def perspective_fail(self) -> None:
        """Fail in a way that stock logs."""
        raise ValueError("stock says no")


@implementer(IRealm)
class StockRealm:
    """A realm as stock has it."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """`IRealm`."""
        return pb.IPerspective, StockAvatar(), lambda: None


@implementer(IStreamClientEndpoint)
class Endpoint:
    """Reaches a server in memory, or fails to."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.end: Any = None
        self.pump: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        """Connect, or answer with what the server is instead."""
        if isinstance(self.server, Deferred):
            return self.server
        client, self.end, self.pump = connectedServerAndClient(
            lambda: self.server.buildProtocol(None), lambda: factory.buildProtocol(None)
        )
        return succeed(client)


class Says(Protocol):
    """A server that says one thing, and nothing of PB."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def connectionMade(self) -> None:
        """Say it."""
        if self.text:
            self.transport.write(self.text)  # type: ignore[union-attr]


def users() -> list[Any]:
    """alice, and guests."""
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
        """The outcome of a call."""
        self.clock = Clock()
        self.endpoint = Endpoint(server)
        credentials: Any = Anonymous() if user is None else UsernamePassword(user, password)
        connector = Connector(self.clock, self.endpoint, credentials, 30)
        result: Deferred[Any] = Deferred.fromCoroutine(callOnce(connector, method, args))
        self.flush()
        return result

    def flush(self) -> None:
        """Bring over what is on its way."""
        if self.endpoint.pump is not None:
            self.endpoint.pump.flush()

    def served(self) -> ServerFactory:
        """A server of pbkit's."""
        self.realm = CachingRealm(Hero)
        return ServerFactory(Portal(self.realm, users()), clock=Clock())

    def stock(self) -> Any:
        """A stock server."""
        return pb.PBServerFactory(Portal(StockRealm(), users()))

    def failed(self, result: Deferred[Any], status: Status) -> str:
        """What is said of a call that has failed so, everything being over."""
        clock = getattr(self.endpoint.server, "clock", None)
        if clock is not None:
            # A wrong password is told after a second.
            clock.advance(1)
            self.flush()
        error = self.failureResultOf(result, CallFailed).value
        assert isinstance(error, CallFailed)
        self.assertIs(error.status, status)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        return str(error)

    def test_answerComes(self) -> None:
        """It logs in, calls, and gives the answer; the session is logged out, and no timer is left."""
        self.assertEqual(self.successResultOf(self.run_(self.served())), "<1>hello alice")
        self.assertEqual(self.realm.counters.ends, {"LoggedOut": 1})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_argumentsGoAlong(self) -> None:
        """The method gets the arguments as they are."""
        value = [1, "zoë", {"a": None}]
        self.assertEqual(self.successResultOf(self.run_(self.served(), "echo", value)), value)

    def test_stockServerAnswers(self) -> None:
        """A stock server is served as well, with a name and without."""
        self.assertEqual(self.successResultOf(self.run_(self.stock())), "hello")
        self.assertEqual(self.successResultOf(self.run_(self.stock(), user=None)), "hello")

    def test_wrongPasswordIsRefused(self) -> None:
        """By pbkit's server and by a stock one, in the same words."""
        for server in [self.served(), self.stock()]:
            for user, password in [(b"alice", b"x"), (b"bob", b"sesame")]:
                said = self.failed(self.run_(server, user=user, password=password), Status.REFUSED)
                self.assertEqual(said, "login refused: unknown user or wrong password")
            self.flushLoggedErrors()

    def test_anonymousIsRefused(self) -> None:
        """A realm that takes no guests says so; a stock server without such a checker in stock's words."""
        said = self.failed(self.run_(self.served(), user=None), Status.REFUSED)
        self.assertIn("accepts no anonymous logins", said)
        server: Any = pb.PBServerFactory(Portal(StockRealm(), users()[:1]))
        said = self.failed(self.run_(server, user=None), Status.REFUSED)
        self.assertIn("login refused: this server accepts no anonymous", said)
        self.flushLoggedErrors()

    def test_methodThatIsNotThereFails(self) -> None:
        """The server's error is told with its class; the session is logged out all the same."""
        said = self.failed(self.run_(self.served(), "nosuch"), Status.REMOTE_ERROR)
        self.assertIn("nosuch failed: pbkit.errors.NoSuchMethod: ", said)
        self.assertEqual(self.realm.counters.ends, {"LoggedOut": 1})

    def test_methodThatRaisesFails(self) -> None:
        """What the method raised is told, from a stock server too."""
        said = self.failed(self.run_(self.served(), "fail"), Status.REMOTE_ERROR)
        self.assertIn("twisted.spread.pb.Error: no\n\x1b[31mway", said)
        said = self.failed(self.run_(self.stock(), "fail"), Status.REMOTE_ERROR)
        self.assertEqual(said, "fail failed: builtins.ValueError: stock says no")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_argumentThatCannotBeSentIsWrongUsage(self) -> None:
        """An argument beyond what the wire carries is told before it is sent."""
        said = self.failed(self.run_(self.served(), "echo", "x" * 1_000_000), Status.USAGE)
        self.assertIn("cannot be sent", said)
        said = self.failed(self.run_(self.served(), "echo", 2**500), Status.USAGE)
        self.assertIn("cannot be sent", said)
        # Stock's call leaves a Deferred behind, which nobody has and the end of the connection fails.
        gc.collect()
        self.flushLoggedErrors(pb.PBConnectionLost)

    def test_serverThatIsNotThereIsUnreachable(self) -> None:
        """A refused connection is told in the system's words."""
        said = self.failed(self.run_(fail(ConnectionRefusedError(111, "refused"))), Status.UNREACHABLE)
        self.assertIn("cannot connect: Connection was refused", said)

    def test_serverThatIsNoPbIsUnreachable(self) -> None:
        """A server that closes, or speaks otherwise, is told as such."""
        result = self.run_(Factory.forProtocol(lambda: Says(b"")))
        self.endpoint.end.transport.loseConnection()
        self.flush()
        self.assertIn("is it a Perspective Broker server", self.failed(result, Status.UNREACHABLE))
        said = self.failed(self.run_(Factory.forProtocol(lambda: Says(b"HTTP/1.1 400 No\r\n"))), Status.UNREACHABLE)
        self.assertIn("does not speak Perspective Broker: it is an HTTP server", said)

    def test_connectionThatIsLostIsUnreachable(self) -> None:
        """A loss while the call is served is told, with what was going on."""
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
        """A server that never connects, never greets or never answers is given up when the time is up."""
        for server, method, doing in [
            (Deferred(), "greet", "connecting"),
            (Factory.forProtocol(lambda: Says(b"")), "greet", "logging in"),
            (self.served(), "slow", "calling slow"),
        ]:
            result = self.run_(server, method)
            self.clock.advance(29.9)
            self.assertNoResult(result)
            self.clock.advance(0.2)
            self.flush()
            said = self.failed(result, Status.TIMED_OUT)
            self.assertEqual(re.split("[;,] ", said)[0], f"no answer within 30 s while {doing}")
            self.assertEqual("with TLS or without" in said, doing == "logging in")

    def test_goodbyeIsBounded(self) -> None:
        """A connection that does not close holds up the answer for a second at most."""
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
        """What JSON has is as it is."""
        for answer in [None, True, 3, 1.5, "zoë", [1, [2]], {"a": {"b": None}, "": []}]:
            self.assertEqual(json.loads(toJson(answer)), answer)

    def test_otherAnswersAreMarked(self) -> None:
        """What JSON does not have is marked by the one key of an object."""
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
        """A dict that reads like a mark is not taken for one."""
        self.assertEqual(json.loads(toJson({"bytes": "x"})), {"dict": [["bytes", "x"]]})
        self.assertEqual(json.loads(toJson({"error": "x"})), {"dict": [["error", "x"]]})
        self.assertEqual(json.loads(toJson({"bytes": "x", "y": 1})), {"bytes": "x", "y": 1})

    def test_cycleIsMarked(self) -> None:
        """What is inside itself is shown once; what is there twice is shown twice."""
        answer: list[Any] = [1]
        answer.append(answer)
        self.assertEqual(json.loads(toJson(answer)), [1, {"cycle": True}])
        twice = [1]
        self.assertEqual(json.loads(toJson([twice, twice])), [[1], [1]])

    def test_objectThatCannotBeShownIsShown(self) -> None:
        """An object whose text cannot be had is no reason to fail."""

        class Rude:
            def __str__(self) -> str:
                raise ValueError

        self.assertIn("Rude", json.loads(toJson(Rude()))["object"])

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.recursive(st.text() | st.binary() | st.integers(), lambda s: st.lists(s) | st.tuples(s)))
    def test_isOneLineOfAscii(self, answer: Any) -> None:
        """Whatever the answer, there is nothing in it that a terminal obeys."""
        text = toJson(answer)
        self.assertTrue(text.isascii() and text.isprintable(), text)


class ArgumentTests(SynchronousTestCase):
    """The command line."""

    def wrong(self, *argv: str) -> str:
        """What is said of this command line, on the one line there is."""
        err = StringIO()
        self.patch(sys, "stderr", err)
        self.assertEqual(self.assertRaises(SystemExit, main, list(argv)).code, Status.USAGE)
        said = err.getvalue()
        self.assertEqual(said.count("\n"), 1, said)
        return said

    def shown(self, *argv: str) -> str:
        """What is printed on the way to an exit with status 0."""
        out = StringIO()
        self.patch(sys, "stdout", out)
        self.assertEqual(self.assertRaises(SystemExit, main, list(argv)).code, 0)
        return out.getvalue()

    def test_jsonIsReadAsJson(self) -> None:
        """An argument that is JSON is that; anything else is a string."""
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
        """Before, between and after the arguments; after -- there are none."""
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
        """What is missing, too much or impossible is told on one line, with status 2."""
        self.assertIn("COMMAND", self.wrong())
        self.assertIn("nonsense", self.wrong("nonsense"))
        self.assertIn("ENDPOINT", self.wrong("call", "--anonymous"))
        self.assertIn("METHOD", self.wrong("call", "tcp:h:1", "--anonymous"))
        self.assertIn("--user NAME or --anonymous", self.wrong("call", "tcp:h:1", "m"))
        self.assertIn("--user NAME or", self.wrong("call", "tcp:h:1", "m", "--user", "a", "--anonymous"))
        self.assertIn("--password", self.wrong("call", "tcp:h:1", "m", "--user", "a", "--password", "x"))
        for seconds in ["0", "-1", "nan", "inf", "soon"]:
            said = self.wrong("call", "tcp:h:1", "m", "--anonymous", f"--timeout={seconds}")
            self.assertIn("number of seconds", said)

    def test_passwordComesFromTheEnvironmentOrAPrompt(self) -> None:
        """Without PBKIT_PASSWORD and without a terminal to ask on, that is told."""
        self.patch(os, "environ", {key: value for key, value in os.environ.items() if key != "PBKIT_PASSWORD"})
        self.patch(sys, "stdin", StringIO())
        self.assertIn("PBKIT_PASSWORD", self.wrong("call", "tcp:h:1", "m", "--user", "alice"))

    def test_helpHasExamplesAndStatuses(self) -> None:
        """--help shows how it is used and what its exit status means; the plain one leads there."""
        shown = self.shown("call", "--help")
        for part in ["examples:", "PBKIT_PASSWORD", "exit status:", "--timeout SECONDS"]:
            self.assertIn(part, shown)
        for status in Status:
            self.assertIn(f" {status.value} ", shown)
        self.assertIn("call", self.shown("--help"))

    def test_showsTheVersion(self) -> None:
        """--version shows pbkit's."""
        self.assertEqual(self.shown("--version"), f"pbkit {pbkit.__version__}\n")

    def test_textFromElsewhereIsTamed(self) -> None:
        """A text of the server's is shown on one line, without what a terminal obeys."""
        self.assertEqual(oneLine("no\n\t\x1b[31mway \x9b \u202e zoë"), "no \\u001b[31mway \\u009b \\u202e zoë")

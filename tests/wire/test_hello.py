"""What pbkit peers tell each other that stock PB cannot say."""

from __future__ import annotations

import contextlib
import gc
import json
from typing import Any

from twisted.logger import LogEvent, globalLogPublisher
from twisted.spread import pb

import pbkit
from pbkit import ClientFactory
from pbkit.errors import Error
from pbkit.interfaces import ILogin
from pbkit.wire.hello import FEATURES, checked, sayHello
from pbkit.wire.wellknown import PBKIT
from tests.support import Client, Wire, serve
from tests.wire.things import WireCase

WRONG: list[Any] = [
    None,
    5,
    "x",
    [1],
    {1: 2},
    {b"x": 1},
    {"x" * 257: 1},
    {"x": "y" * 257},
    {"x": b"y" * 257},
    {"x": []},
    {"x": {"y": 1}},
    {"x": object()},
    {str(n): n for n in range(33)},
]


class HelloTests(WireCase):
    """``hello`` on the object named ``pbkit``."""

    def test_sent(self) -> None:
        """What a client declares reaches the realm with its login, and the client learns what the server is."""
        features = {"app": "game", "version": 3, "big": 2**40, "ok": True, "none": None, "x": 1.5}
        seen: list[Any] = []

        class Asking(type(self.realm)):  # type: ignore[misc]
            def requestAvatar(self, avatarId: Any, login: Any, *interfaces: Any) -> Any:
                seen.append(ILogin(login).hello)
                return super().requestAvatar(avatarId, login, *interfaces)

        wire = Wire(serve(Asking(self.realm.avatarClass)), ClientFactory(hello=features))
        avatar = self.successResultOf(wire.login())
        self.assertEqual(seen, [{**features, "program": seen[0]["program"]}])
        answer = sayHello(wire.client, {"app": "other"})
        wire.flush()
        self.assertEqual(self.successResultOf(answer), FEATURES)
        self.assertEqual(wire.server.peer.hello, {"app": "other"})
        del avatar

    def test_stockClientDeclaresNothing(self) -> None:
        """The hello of a stock client is empty."""
        _, session = self.login()
        self.assertEqual(session.peer.hello, {})

    def test_stockServerIsNotDisturbed(self) -> None:
        """A stock server answers that it has no such object and logs nothing, and the login succeeds."""
        events: list[LogEvent] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        wire = Wire(serve(self.realm, pb.PBServerFactory), ClientFactory(hello={"app": "game"}))
        self.assertEqual([event for event in events if "hello" in str(event)], [])
        self.successResultOf(wire.login())
        answer = sayHello(wire.client, {})
        wire.flush()
        self.assertEqual(self.successResultOf(answer), {})

    def test_neverFails(self) -> None:
        """`sayHello` fires with {} if the connection is lost meanwhile."""
        answer = sayHello(self.wire.client, {})
        self.wire.cut()
        self.wire.flush()
        self.assertEqual(self.successResultOf(answer), {})

    def test_neverFailsOnALostConnection(self) -> None:
        """`sayHello` fires with {} if the connection is lost already."""
        self.wire.lose()
        self.assertEqual(self.successResultOf(sayHello(self.wire.client, {})), {})

    def test_serverThatDeclaresNonsense(self) -> None:
        """What a server declares is checked as well."""

        class Liar(pb.Referenceable):
            def remote_hello(self, features: Any) -> Any:
                return {"x": ["nested"]}

        self.wire.server.setNameForLocal(PBKIT, Liar())
        answer = sayHello(self.wire.client, {})
        self.wire.flush()
        self.assertEqual(self.successResultOf(answer), {})

    def test_wrongOnes(self) -> None:
        """Anything but a small dict of short texts to plain values is refused, and what was declared before stays."""
        self.wire.server.peer.hello = {"app": "before"}
        for wrong in WRONG:
            self.assertRaises(Error, checked, wrong)
            if not isinstance(wrong, dict) or not any(type(value) is object for value in wrong.values()):
                with contextlib.suppress(TypeError):
                    sent = json.dumps(wrong).encode("ascii")
                    if json.loads(sent) != wrong:
                        continue
                    failure = self.error(self.wire.client.remoteForName(PBKIT), "hello", sent)
                    self.assertIn("a dict of at most 32", failure.getErrorMessage())
        for nonsense in (b"{", b"[" * 5000, b"\xff", {"x": 1}, Client()):
            failure = self.error(self.wire.client.remoteForName(PBKIT), "hello", nonsense)
            self.assertTrue(failure.check(Error))
        gc.collect()
        self.wire.flush()
        self.assertEqual(self.wire.client.localObjects, {})
        self.assertEqual(self.wire.server.peer.hello, {"app": "before"})
        self.assertRaises(Error, ClientFactory, hello={"x": []})

    def test_noArgumentIsLogged(self) -> None:
        """A hello with wrong arguments is refused, and the arguments are not logged."""
        events: list[LogEvent] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for args in ((), ("s3same", "s3same"), ({"a": "s3same"}, 5)):
            self.error(self.wire.client.remoteForName(PBKIT), "hello", *args)
        self.flushLoggedErrors()
        self.assertEqual([event for event in events if "s3same" in str(event)], [])

    def test_takesNoRoom(self) -> None:
        """Hellos leave no entry in the tables."""
        for _ in range(20):
            answer = sayHello(self.wire.client, {"n": 1})
            self.wire.flush()
            self.successResultOf(answer)
        self.assertEqual(self.wire.server.localObjects, {})
        self.assertEqual((self.wire.client.localObjects, self.wire.client.waitingForAnswers), ({}, {}))

    def test_isNoMind(self) -> None:
        """The object for hellos cannot be sent as a mind."""
        mind = self.wire.client.remoteForName(PBKIT)
        self.assertTrue(self.failureResultOf(self.wire.login(mind=mind)).check(pbkit.errors.BadMind))

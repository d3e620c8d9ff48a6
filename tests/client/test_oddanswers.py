"""`pbkit.connect` to a server that gives an invalid answer to the login."""

from __future__ import annotations

from typing import Any, cast

from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.spread import pb
from twisted.trial.unittest import TestCase

import pbkit
from pbkit import errors

ODD: list[Any] = [
    None,
    5,
    b"",
    [],
    {},
    "challenge",
    b"16 bytes of text",
    (b"challenge",),
    (b"challenge", b"challenger"),
    (b"challenge", None),
    ("challenge", 7, 9),
    {b"challenge": 1, b"challenger": 2},
    [[[[]]]],
]

#: Answers in jelly, and worse, as they go on the wire.
RAW: list[Any] = [
    [],
    [b""],
    [5, 5],
    [b"no.such.Class", [b"dictionary"]],
    [b"tuple", [b"remote"], [b"remote", b"x"]],
    [b"tuple", b"challenge", [b"remote", [b"list"]]],
    [b"tuple", b"challenge", [b"remote", 5, 5]],
    [b"tuple", [b"unicode", b"\xff"], [b"remote", 5]],
    [b"dereference", 1],
    [b"reference", 1, [b"dereference", 1]],
    [b"dictionary", 5],
    [b"cached", 1],
    [b"local", b"root"],
    [b"twisted.spread.pb.CopyableFailure", [b"dictionary"]],
    [b"twisted.spread.pb.CopyableFailure", 5],
    [b"instance", b"no.such", [b"None"]],
    [b"function", b"os.system"],
    [b"method", b"x", [b"None"], [b"class", b"os.x"]],
    [b"decimal", 1],
]


class Challenger(pb.Referenceable):
    """Answers the response."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def remote_respond(self, response: Any, mind: Any) -> Any:
        """Answer."""
        return self._answer


class Root(pb.Root):
    """Answers a login."""

    first: Any = None
    second: Any = None

    def remote_login(self, username: Any) -> Any:
        """Answer, with a challenge if only the second answer is to be odd."""
        return (b"challenge", Challenger(self.second)) if self.first is None else self.first[0]

    def remote_loginAnonymous(self, mind: Any) -> Any:
        """Answer."""
        return self.second


class RawBroker(pb.Broker):
    """Sends an expression as the answer or error of each call."""

    raw: Any = None

    def proto_decref(self, objectID: Any) -> None:
        """Ignore the release of references that were never sent."""

    proto_decache = proto_decref

    def _sendAnswer(self, netResult: Any, requestID: Any) -> None:
        command, expression = self.raw
        self.sendCall(command, requestID, expression)


class OddAnswerTests(TestCase):
    """Each fails with `ProtocolMismatch`."""

    timeout = 60.0

    def setUp(self) -> None:
        """A server."""
        from twisted.internet import reactor

        self.root = Root()
        self.factory: Any = pb.PBServerFactory(self.root)
        installed: Any = reactor
        port = cast(Any, installed).listenTCP(0, self.factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        self.endpoint = f"tcp:127.0.0.1:{port.getHost().port}"

    async def connect(self, credentials: Any = None) -> Any:
        """Connect, and return the error."""
        credentials = UsernamePassword(b"alice", b"sesame") if credentials is None else credentials
        try:
            await pbkit.connect(self.endpoint, credentials, mind=pb.Referenceable(), timeout=10.0)
        except Exception as error:
            return error
        raise AssertionError("connected")

    async def test_challenge(self) -> None:
        """The answer to the user name is not a challenge and a challenger."""
        for answer in ODD:
            self.root.first = [answer]
            self.assertIs(type(await self.connect()), errors.ProtocolMismatch, answer)

    async def test_avatar(self) -> None:
        """The answer to the response, or to an anonymous login, is not a reference."""
        for answer in ODD:
            self.root.second = answer
            self.assertIs(type(await self.connect()), errors.ProtocolMismatch, answer)
            self.assertIs(type(await self.connect(Anonymous())), errors.ProtocolMismatch, answer)

    async def test_unreadable(self) -> None:
        """The answer is not valid jelly, or of a class that is not accepted."""
        self.factory.protocol = RawBroker
        for command in (b"answer", b"error"):
            for expression in RAW:
                self.patch(RawBroker, "raw", (command, expression))
                error = await self.connect()
                self.assertIsInstance(error, errors.ProtocolMismatch, f"{command!r} {expression!r} {error!r}")

    async def test_ownFaults(self) -> None:
        """If the mind cannot be sent, the error is the client's own."""

        class Broken(pb.Referenceable):
            def jellyFor(self, jellier: Any) -> Any:
                raise ValueError("not today")

        with self.assertRaises(ValueError) as caught:
            await pbkit.connect(self.endpoint, UsernamePassword(b"alice", b"sesame"), mind=Broken(), timeout=10.0)
        self.assertEqual(str(caught.exception), "not today")

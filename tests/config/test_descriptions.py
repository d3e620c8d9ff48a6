"""`pbkit.config.descriptions`: server endpoint descriptions."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import endpoints
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from pbkit.config.descriptions import isLoopbackOnly, portError, splitDescription, unixPath, withBacklog
from pbkit.errors import ConfigError


class SplitDescriptionTests(SynchronousTestCase):
    """`splitDescription` follows Twisted's rules for endpoint strings."""

    @settings(max_examples=100, deadline=None, database=None)
    @given(st.text(alphabet=":=\\ab1."))
    def test_agreesWithTwisted(self, text: str) -> None:
        """Every text is split as `twisted.internet.endpoints` does it, or refused by both."""
        try:
            args, kw = endpoints._parse(text)
        except (StopIteration, RuntimeError):
            self.assertRaises(ConfigError, splitDescription, text)
            return
        fields = splitDescription(text)
        self.assertEqual([one[0] for one in fields if len(one) == 1], args)
        self.assertEqual({one[0]: one[1] for one in fields if len(one) == 2}, kw)


class LoopbackOnlyTests(SynchronousTestCase):
    """`isLoopbackOnly` decides whether a server may run without --auth."""

    def test_isTrueForWhatOnlyThisMachineReaches(self) -> None:
        """True for 127.0.0.0/8, ::1, localhost and Unix sockets."""
        for description in [
            "tcp:8787:interface=127.0.0.1",
            "tcp:8787:127.0.0.1",
            "tcp:8787:interface=127.99.0.3:backlog=5",
            "tcp:0:interface=localhost",
            r"tcp:8787:interface=\:\:1",
            r"tcp6:8787:interface=\:\:1",
            r"tcp6:8787:50:\:\:1",
            "ssl:8787:interface=127.0.0.1:privateKey=a.pem",
            "unix:/run/pbkit.sock",
            "unix:address=/run/pbkit.sock",
        ]:
            self.assertTrue(isLoopbackOnly(description), description)

    def test_isFalseForAnythingElse(self) -> None:
        """False for other interfaces, a missing interface, an unknown type, a proxy and a malformed description."""
        for description in [
            "",
            "tcp:8787",
            "tcp:8787:interface=",
            "tcp:8787:interface=0.0.0.0",
            "tcp:8787:interface=192.0.2.7",
            "tcp:8787:interface=127.0.0.1.example.org",
            "tcp:8787:interface=localhost.example.org",
            "tcp:8787:127.0.0.1:interface=0.0.0.0",
            "tcp:8787:interface=0.0.0.0:interface=127.0.0.1",
            "tcp:8787:0.0.0.0:interface=127.0.0.1",
            "tcp:127.0.0.1",
            "tcp:8787:backlog=127.0.0.1",
            r"tcp:8787:interface\=127.0.0.1",
            r"tcp6:8787:interface=\:\:",
            "tcp6:8787",
            "ssl:8787",
            "ssl:8787:127.0.0.1",
            "systemd:domain=INET:index=0",
            "haproxy:tcp:8787:interface=127.0.0.1",
            "onion:80",
            "interface=127.0.0.1",
            "tcp:8787:interface=127.0.0.1\\",
        ]:
            self.assertFalse(isLoopbackOnly(description), description)


class WithBacklogTests(SynchronousTestCase):
    """`withBacklog`: the listen backlog."""

    def test_isAddedWhereNoneIsNamed(self) -> None:
        """It is added to every type that has a socket of its own, also behind haproxy."""
        for description in [
            "tcp:8787",
            "tcp:8787:interface=127.0.0.1",
            r"tcp:8787:\:\:1",
            "tcp:port=8787",
            "tcp6:8787",
            "ssl:8787:key.pem:cert.pem",
            "tls:certificates:8787",
            "unix:/run/pbkit.sock:mode=660",
            "haproxy:tcp:8787",
        ]:
            self.assertEqual(withBacklog(description), f"{description}:backlog=4096")

    def test_isLeftAlone(self) -> None:
        """A description with a backlog, and one of an unknown type, is unchanged."""
        for description in [
            "",
            "tcp:8787:backlog=5",
            "tcp:8787:127.0.0.1:5",
            "tcp6:8787:50:\\:\\:1",
            "ssl:8787:key.pem:cert.pem:TLSv1_METHOD::5",
            "tls:certificates:8787:5",
            "unix:/run/pbkit.sock:660:5",
            "systemd:domain=INET:index=0",
            "haproxy:tcp:8787:backlog=5",
            "haproxy",
            "onion:80",
            "tcp:8787\\",
        ]:
            self.assertEqual(withBacklog(description), description)

    def test_twistedTakesIt(self) -> None:
        """Twisted accepts the result."""
        reactor = MemoryReactor()
        for description, expected in [
            ("tcp:8787", 4096),
            ("tcp:8787:127.0.0.1", 4096),
            ("tcp:8787:127.0.0.1:5", 5),
            (r"tcp6:8787:interface=\:\:1", 4096),
            ("haproxy:tcp:8787", 4096),
        ]:
            serverFromString(reactor, withBacklog(description)).listen(Factory())
            self.assertEqual(reactor.tcpServers.pop()[2], expected, description)
        serverFromString(reactor, withBacklog("unix:/run/pbkit.sock")).listen(Factory())
        self.assertEqual(reactor.unixServers.pop()[2], 4096)


class PortErrorTests(SynchronousTestCase):
    """`portError`, and `unixPath`."""

    def test_validPorts(self) -> None:
        """Ports from 0 to 65535, and descriptions without a port, have no error."""
        for text in [
            "tcp:0",
            "tcp:65535",
            "tcp:port=8787",
            "tcp6:8787",
            "ssl:8787:privateKey=x",
            "tls:certificates:8787",
            "haproxy:tcp:8787",
            "unix:/x",
            "onion:99999",
            "tcp",
            "",
            "tcp:1\\",
        ]:
            self.assertIsNone(portError(text), text)

    def test_invalidPorts(self) -> None:
        """Other ports are quoted, with the range. If it looks like an address, the error says where that belongs."""
        for text in ["tcp:65536", "tcp6:99999", "tcp:port=-1", "ssl:70000", "haproxy:tcp:65536", "tls:dir:99999"]:
            self.assertRegex(portError(text) or "", r"^invalid port '-?\d+', expected 0 to 65535$")
        for text in ["tcp:127.0.0.1:8787", "tcp:http", "tcp:localhost:8787", "tcp:", "tcp:\u0661"]:
            self.assertIn("expected 0 to 65535", portError(text) or "", text)
        self.assertIn("interface=127.0.0.1", portError("tcp:127.0.0.1:8787") or "")

    def test_unixPath(self) -> None:
        """The path of a Unix socket, with its key or without."""
        self.assertEqual(unixPath(r"unix:/run/a\:b:mode=660"), "/run/a:b")
        self.assertEqual(unixPath("unix:address=/run/x"), "/run/x")
        self.assertIsNone(unixPath("tcp:8787"))

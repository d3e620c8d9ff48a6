"""`pbkit.config.values`: the settings as frozen dataclasses, and short descriptions."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import endpoints
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor
from twisted.trial.unittest import SynchronousTestCase

from pbkit.config.values import RealmSpec, ServerConfig, isLoopbackOnly, parseRealm, splitDescription, withBacklog
from pbkit.errors import ConfigError


class ServerConfigTests(SynchronousTestCase):
    """`ServerConfig` with its defaults."""

    def test_servesTheCachingRealmOnLoopbackByDefault(self) -> None:
        """The default is the caching realm on port 8787 of this machine."""
        config = ServerConfig()
        self.assertEqual(config.realm, RealmSpec("caching"))
        self.assertEqual(config.listen, ("tcp:8787:interface=127.0.0.1",))
        self.assertTrue(isLoopbackOnly(config.listen[0]))

    def test_isFrozen(self) -> None:
        """The settings cannot be changed."""
        with self.assertRaises(FrozenInstanceError):
            ServerConfig().avatar = "x"  # type: ignore[misc]

    def test_showsNoPassword(self) -> None:
        """`repr` of the settings contains no password."""
        self.assertNotIn("sesame", repr(ServerConfig(auth=("memory:alice:sesame",))))


class ParseRealmTests(SynchronousTestCase):
    """`parseRealm`."""

    def test_takesAName(self) -> None:
        """A name alone has no parameters."""
        self.assertEqual(parseRealm("caching"), RealmSpec("caching", {}))

    def test_takesADottedPathWithParameters(self) -> None:
        """Each key=value becomes a parameter with a text value."""
        spec = parseRealm("game.realms.GameRealm:max=3:motto=a=b")
        self.assertEqual(spec.name, "game.realms.GameRealm")
        self.assertEqual(dict(spec.parameters), {"max": "3", "motto": "a=b"})

    def test_takesAnEscapedColon(self) -> None:
        """A backslash escapes a colon in a value."""
        self.assertEqual(dict(parseRealm(r"limited:note=a\:b\\").parameters), {"note": "a:b\\"})

    def test_isShownAsItWasWritten(self) -> None:
        """`str` of a spec is the text it was parsed from."""
        self.assertEqual(str(parseRealm("limited:max=3:conflict=kick")), "limited:max=3:conflict=kick")

    def test_refusesWhatIsNotOfThatForm(self) -> None:
        """Malformed descriptions are errors that show the expected form."""
        for text, said in [
            ("", "NAME:key=value"),
            (":max=3", "NAME:key=value"),
            ("max=3", "NAME:key=value"),
            ("limited:3", "got '3', expected key=value"),
            ("limited:", "got '', expected key=value"),
            ("limited:=3", "got '=3', expected key=value"),
            ("limited:max=3:max=4", "max is given twice"),
            ("limited\\", "backslash"),
        ]:
            error = self.assertRaises(ConfigError, parseRealm, text)
            self.assertIn(said, str(error), text)

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.text(), st.dictionaries(st.text(min_size=1), st.text()))
    def test_whateverIsQuotedIsReadBack(self, name: str, parameters: dict[str, str]) -> None:
        """Names, keys and values of any text survive if special characters are escaped."""

        def quote(text: str) -> str:
            return "".join(f"\\{c}" if c in "\\:=" else c for c in text)

        pairs = (f"{quote(key)}={quote(value)}" for key, value in parameters.items())
        spec = parseRealm(":".join([quote("r" + name), *pairs]))
        self.assertEqual(spec.name, "r" + name)
        self.assertEqual(dict(spec.parameters), parameters)


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

"""The classes that clients of a twistd server may send."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import IRealm, Portal
from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit import AnonymousRealm, CachingRealm
from pbkit.config.file import combine, parseFile
from pbkit.config.values import Problems
from pbkit.errors import ConfigError
from pbkit.serving.plan import Plan, prepare
from pbkit.serving.service import Server
from pbkit.serving.showconfig import asToml
from pbkit.tap import Options
from pbkit.wire.jelly.registry import STOCK
from tests.serving.test_service import Terminal
from tests.support import Recorder
from tests.wire.copies import CARD, PLAIN, Card, CardCopy

HERE = "tests.serving.test_allow"


class CardRealm(CachingRealm):
    """A realm whose clients may send cards."""

    avatarClass = Recorder
    allow = frozenset({CardCopy})


class HostRealm(CachingRealm):
    """A realm whose anonymous users may send cards."""

    avatarClass = Recorder

    def __init__(self) -> None:
        guests = AnonymousRealm(Recorder)
        guests.allow = frozenset({CardCopy})  # type: ignore[misc]
        super().__init__(anonymous=guests)


class LostRealm(CachingRealm):
    """A realm that names an unregistered class."""

    avatarClass = Recorder
    allow = frozenset({"no.such.Card"})


@implementer(IRealm)
class StockRealm:
    """A stock realm that names classes."""

    allow = (Card,)

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """`IRealm`."""
        raise NotImplementedError


portal = Portal(StockRealm(), [AllowAnonymousAccess()])


def planned(text: str, **flags: Any) -> Plan:
    """Return the plan for a file and flags."""
    problems = Problems()
    return prepare(combine(parseFile(text, "pbkit.toml", problems), flags, problems), MemoryReactorClock(), problems)


class AllowTests(SynchronousTestCase):
    """The classes of the realm and of the settings."""

    def names(self, plan: Plan) -> set[bytes]:
        """Return the wire names that a server accepts, except references."""
        server = Server(plan, MemoryReactorClock(), Terminal())
        registry = server.factory.registry
        self.assertIs(server.factory.buildProtocol(None).registry, registry)
        if registry is STOCK:
            return {b"all"}
        return set(registry.classes) - {b"remote", b"local", b"cached", b"lcache"}

    def test_none(self) -> None:
        """By default, no class is accepted."""
        self.assertEqual(self.names(planned("")), set())

    def test_realm(self) -> None:
        """Classes of any kind of realm, of its realm for anonymous users, and of the realm of a portal are accepted."""
        self.assertEqual(self.names(planned(f"[server]\nrealm = '{HERE}.CardRealm'\n")), {CARD})
        self.assertEqual(self.names(planned(f"[server]\nrealm = '{HERE}.StockRealm'\n")), {CARD})
        self.assertEqual(self.names(planned(f"[server]\nrealm = '{HERE}.HostRealm'\n")), {CARD})
        self.assertEqual(self.names(planned(f"[server]\nportal = '{HERE}.portal'\n")), {CARD})

    def test_configuration(self) -> None:
        """Classes of the file are accepted besides the realm's, by class or by name. A flag replaces the file's."""
        text = f"[server]\nrealm = '{HERE}.CardRealm'\nallow = ['tests.wire.copies.PlainCopy', 'tests.Loose']\n"
        import tests.wire.jelly.test_unjellier  # noqa: F401

        self.assertEqual(self.names(planned(text)), {CARD, PLAIN, b"tests.Loose"})
        self.assertEqual(self.names(planned(text, allow=("tests.wire.copies.Plain",))), {CARD, PLAIN})

    def test_dropin(self) -> None:
        """A drop-in server accepts all registered classes, unless some are named."""
        self.assertEqual(self.names(planned("[server]\nprofile = 'drop-in'\n")), {b"all"})
        self.assertEqual(
            self.names(planned("[server]\nprofile = 'drop-in'\nallow = ['tests.wire.copies.Plain']\n")), {PLAIN}
        )

    def test_wrong(self) -> None:
        """Unknown classes are errors with line numbers, and a server with an unregistered class does not start."""
        text = "[server]\nallow = [\n'no.such.Card',\n5,\n'pbkit.Avatar',\n'card']\n"
        said = str(self.assertRaises(ConfigError, planned, text)).splitlines()
        self.assertEqual([line.partition(": ")[0] for line in said], [f"pbkit.toml:{line}" for line in (3, 4, 5, 6)])
        for line, says in zip(
            said, ("no such module", "an array of strings", "not registered", "dotted path"), strict=True
        ):
            self.assertIn(says, line)
        module = str(self.assertRaises(ConfigError, planned, "", allow=("os.path",)))
        self.assertEqual(module, "invalid allow os.path: got an instance of module, expected a class")
        lost = str(self.assertRaises(ConfigError, planned, f"[server]\nrealm = '{HERE}.LostRealm'\n"))
        self.assertIn("pbkit.toml:2: allow 'no.such.Card': not registered", lost)

    def test_printed(self) -> None:
        """--print-config shows the classes and their origin."""
        self.assertIn("# allow: no classes\n", asToml(planned("")))
        self.assertIn(
            "# allow: all registered classes, as in stock PB\n", asToml(planned("[server]\nprofile = 'drop-in'\n"))
        )
        realm = f"[server]\nrealm = '{HERE}.CardRealm'\n"
        self.assertIn("# allow: set by the realm: tests.wire.copies.CardCopy\n", asToml(planned(realm)))
        printed = asToml(planned(f"{realm}allow = ['tests.wire.copies.Plain']\n"))
        self.assertIn('allow = [\n    "tests.wire.copies.Plain",  # pbkit.toml:3\n]\n', printed)
        self.assertEqual(self.names(planned(printed)), {CARD, PLAIN})

    def test_flag(self) -> None:
        """``--allow`` is repeatable."""
        options = Options()
        options.parseOptions(["--allow", "tests.wire.copies.Plain", "--allow", "tests.wire.copies.Card"])
        assert options.plan is not None
        self.assertEqual(self.names(options.plan), {CARD, PLAIN})
        self.assertRaises(UsageError, Options().parseOptions, ["--allow", "no.such.Card"])

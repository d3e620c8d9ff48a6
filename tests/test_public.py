"""The public names of `pbkit`, so that none is added or removed by accident."""

from __future__ import annotations

import inspect
from types import ModuleType

from twisted.trial.unittest import SynchronousTestCase

import pbkit
import pbkit.testing

#: The public names. A change here needs a fragment in changelog.d/.
NAMES = [
    "Admit",
    "AnonymousRealm",
    "Avatar",
    "Broker",
    "Cached",
    "CachingRealm",
    "ClientFactory",
    "ClientSession",
    "ClientlessRealm",
    "ClockRealm",
    "Disposable",
    "LimitedRealm",
    "Lingering",
    "Mind",
    "MultiClientRealm",
    "PerConnectionRealm",
    "PerLogin",
    "Probe",
    "Realm",
    "Refuse",
    "Roster",
    "ServerFactory",
    "Session",
    "SingleClientRealm",
    "Summary",
    "Told",
    "Topic",
    "allOf",
    "atMost",
    "cancelWithSession",
    "coalesce",
    "connect",
    "currentSession",
    "dropOldest",
    "errors",
    "kick",
    "kickAfter",
    "param",
    "perAvatar",
    "perPeer",
    "probe",
    "total",
]

#: The same for `pbkit.testing`.
TESTING = ["Link", "MemoryClient", "MemoryConnection", "MemoryServer", "MemoryServerMixin", "RecordingMind"]


class PublicNameTests(SynchronousTestCase):
    """The names that `pbkit` re-exports."""

    def test_namesArePinned(self) -> None:
        """The public names are exactly these."""
        self.assertEqual(sorted(pbkit.__all__), NAMES)

    def test_namesAreThere(self) -> None:
        """Each public name exists, is listed once, and is imported by a star import."""
        self.assertEqual([name for name in NAMES if not hasattr(pbkit, name)], [])
        self.assertEqual(len(pbkit.__all__), len(set(pbkit.__all__)))
        got: dict[str, object] = {}
        exec("from pbkit import *", got)
        self.assertEqual(set(NAMES) - set(got), set())

    def test_nothingElseIsInTheOpen(self) -> None:
        """Apart from the public names, `pbkit` has only its modules as public attributes."""
        public = {name for name in vars(pbkit) if not name.startswith("_")} - set(NAMES)
        unpromised = {name for name in public if not isinstance(getattr(pbkit, name), ModuleType)}
        self.assertEqual(unpromised - {"annotations"}, set())

    def test_eachNameIsDocumented(self) -> None:
        """Each public class, function and module has a docstring of its own."""
        silent = []
        for name in NAMES:
            value = getattr(pbkit, name)
            if inspect.isclass(value) and not vars(value).get("__doc__"):
                silent.append(name)
            elif (inspect.isroutine(value) or inspect.ismodule(value)) and not value.__doc__:
                silent.append(name)
        self.assertEqual(silent, [])

    def test_eachPublicMethodIsDocumented(self) -> None:
        """Each public method that a public class adds has a docstring."""
        silent = []
        for name in NAMES:
            value = getattr(pbkit, name)
            if not inspect.isclass(value):
                continue
            for attribute, member in vars(value).items():
                inherited = any(hasattr(base, attribute) for base in value.__mro__[1:])
                member = inspect.unwrap(getattr(member, "__func__", member))
                plain = inspect.isfunction(member) or isinstance(member, property)
                if plain and not attribute.startswith("_") and not inherited and not member.__doc__:
                    silent.append(f"{name}.{attribute}")
        self.assertEqual(silent, [])

    def test_testing(self) -> None:
        """The public names of `pbkit.testing` are exactly these, and their methods have docstrings."""
        self.assertEqual(pbkit.testing.__all__, TESTING)
        silent = [
            f"{name}.{attribute}"
            for name in TESTING
            for attribute, member in vars(getattr(pbkit.testing, name)).items()
            if not attribute.startswith("_") and inspect.isfunction(member) and not member.__doc__
        ]
        self.assertEqual(silent, [])

    def test_versionIsText(self) -> None:
        """The version is a string of three numbers."""
        self.assertRegex(pbkit.__version__, r"^\d+\.\d+\.\d+$")

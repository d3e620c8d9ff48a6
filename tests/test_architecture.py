"""Which way the doors of the house open, and how large its rooms may be: read from the source itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

ROOT = Path(__file__).resolve().parent.parent

#: The package itself, as a room: what stands in pbkit/__init__.py.
MAP = "pbkit"

#: For each room the rooms that it may import. A room is a module or a package directly in pbkit.
#: `errors` and `interfaces` may be imported by all, but for `config`, which is pure and has `errors` only.
DOORS: dict[str, set[str]] = {
    "errors": set(),
    "interfaces": set(),
    "config": set(),
    "dispatch": set(),
    "plain": set(),
    "sessions": {"dispatch", "plain"},
    "wire": {"dispatch", "plain"},
    "auth": set(),
    "server": {"dispatch", "sessions", "wire", "auth"},
    "client": {"wire"},
    "dropin": {"wire", "server", "client"},
    "demo": {"sessions"},
    "serving": {"config", "server", "sessions", "auth", "wire", "demo", MAP},
    "tap": {"config", "serving", MAP},
    "command": {"client"},
    "cli": {"command", MAP},
    "testing": {"server", "client"},
    MAP: {"dispatch", "sessions", "wire", "server", "client", "dropin"},
}

#: Who may import the reactor; elsewhere a clock or a reactor is an argument. `connect` takes one, too, and imports the
#: installed one only when it is called without.
REACTOR = {"tap", "cli", "client.connecting"}

LINES = 350
#: The codec is one pass over two formats, and cutting it would cost what it is for.
#: The errors are a list, one class for each reason, and stay in one place.
LONGER = {"wire/codec/pure.py", "errors.py"}


def importsIn(source: str, module: str, package: bool = False) -> Iterator[str]:
    """
    Every import in a source, wherever it stands: in a function or for the type checker only as well.

    :param source: Python.
    :param module: the dotted name of the module that it is the source of.
    :param package: whether it is the `__init__` of a package.
    :return: dotted names; for `from a import b`, "a.b".
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                parts = module.split(".")
                above = parts[: len(parts) - node.level + package]
                start = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{start}.{alias.name}" for alias in node.names)


def roomsIn(source: str, module: str, package: bool = False) -> set[str]:
    """
    :return: the rooms of pbkit that a source imports.
    """
    rooms = set()
    for name in importsIn(source, module, package):
        first, *rest = name.split(".")
        if first == "pbkit":
            rooms.add(rest[0] if rest and rest[0] in DOORS else MAP)
    return rooms


def wrongDoors(source: str, module: str, package: bool = False) -> set[str]:
    """
    :return: the rooms that a source imports and may not.
    :raises KeyError: if its own room is not in the plan.
    """
    room = module.split(".")[1] if "." in module else MAP
    free = {room, "errors"} | ({"interfaces"} if room != "config" else set())
    return roomsIn(source, module, package) - DOORS[room] - free


def importsReactor(source: str, module: str) -> bool:
    """
    :return: whether a source imports the global reactor.
    """
    reactor = "twisted.internet.reactor"
    return any(name == reactor or name.startswith(reactor + ".") for name in importsIn(source, module))


def classesIn(source: str) -> Iterator[str]:
    """
    :return: the names of the classes that a source defines.
    """
    return (node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef))


def vagueNames(source: str) -> list[str]:
    """
    :return: the names of classes that say nothing of what the class is.
    """
    return [name for name in classesIn(source) if re.search("Manager|Helper|Utils?$|Utils", name)]


def sources() -> Iterator[tuple[str, str, bool, str]]:
    """
    :return: for each module of pbkit its path in it, its dotted name, whether it is a package, its text.
    """
    for path in sorted((ROOT / "pbkit").rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        package = parts[-1] == "__init__"
        module = ".".join(parts[:-1] if package else parts)
        yield path.relative_to(ROOT / "pbkit").as_posix(), module, package, path.read_text(encoding="utf-8")


class DoorTests(SynchronousTestCase):
    """The plan of the house, held against the source."""

    def test_theHouseIsLookedAt(self) -> None:
        """The modules that the other tests here read are those of the package, and not none."""
        found = {path for path, *_ in sources()}
        self.assertLessEqual({"errors.py", "interfaces.py", "sessions/session.py"}, found)

    def test_everyRoomIsInThePlan(self) -> None:
        """A module or package that is new in pbkit has to say here which rooms it may import."""
        rooms = {module.split(".")[1] for _, module, _, _ in sources() if "." in module}
        self.assertEqual(rooms - set(DOORS), set())

    def test_doorsOpenOneWay(self) -> None:
        """No module imports from a room that its own has no door to."""
        for path, module, package, source in sources():
            self.assertEqual(wrongDoors(source, module, package), set(), f"pbkit/{path} has no door to these")

    def test_sessionsAndWireNeverMeet(self) -> None:
        """Neither half can reach the other by way of the rooms that it may import."""
        for start, other in (("sessions", "wire"), ("wire", "sessions")):
            reached, look = set[str](), [start]
            while look:
                reached.add(room := look.pop())
                look += DOORS[room] - reached
            self.assertNotIn(other, reached)

    def test_onlyTheFrontDoorsHaveTheReactor(self) -> None:
        """The global reactor is imported by the twistd plugin and the command, and nowhere else."""
        having = {module.partition(".")[2] for _, module, _, source in sources() if importsReactor(source, module)}
        self.assertEqual(having - REACTOR, set())

    def test_modulesAreShort(self) -> None:
        """No module but the codec is longer than can be read in one go."""
        long = {path: n for path, _, _, source in sources() if (n := len(source.splitlines())) > LINES}
        self.assertEqual({path: n for path, n in long.items() if path not in LONGER}, {})

    def test_classesHaveNamesThatSaySomething(self) -> None:
        """No class is called a manager, a helper or utilities."""
        self.assertEqual({path: vague for path, _, _, source in sources() if (vague := vagueNames(source))}, {})

    def test_twistedKeepsItsPackages(self) -> None:
        """Beside the plugin lies no `__init__.py`, which would be installed over Twisted's own."""
        self.assertEqual(sorted(path.name for path in (ROOT / "twisted").rglob("*.py")), ["pbkit_plugin.py"])


class ReadingTests(SynchronousTestCase):
    """The reading of the source sees what it is there to see."""

    def test_aWrongDoorIsSeen(self) -> None:
        """An import of the other half is found however it is spelled and wherever it stands."""
        for source in (
            "import pbkit.wire.broker",
            "import pbkit.wire as w",
            "from pbkit.wire import broker",
            "from pbkit import wire",
            "from ..wire.broker import Broker",
            "from .. import wire",
            "def f():\n    from pbkit.wire.broker import Broker",
            "if TYPE_CHECKING:\n    from pbkit.wire.broker import Broker",
        ):
            self.assertEqual(wrongDoors(source, "pbkit.sessions.session"), {"wire"}, source)

    def test_theWholePackageIsARoom(self) -> None:
        """A room may not come by what it has no door to through the package's public names."""
        for source in ("import pbkit", "from pbkit import Broker", "from .. import Broker"):
            self.assertEqual(wrongDoors(source, "pbkit.sessions.session"), {MAP}, source)

    def test_ownRoomIsOpen(self) -> None:
        """A module may import its neighbours, the errors and the interfaces."""
        source = "from pbkit.sessions.roster import Roster\nfrom pbkit import errors\nfrom . import mind"
        self.assertEqual(wrongDoors(source, "pbkit.sessions.session"), set())
        self.assertEqual(wrongDoors("from . import session, roster", "pbkit.sessions", package=True), set())

    def test_configHasNoInterfaces(self) -> None:
        """The configuration is pure: of pbkit it has the errors and nothing else."""
        source = "from pbkit.errors import ConfigError\nfrom pbkit.interfaces import ILogin"
        self.assertEqual(wrongDoors(source, "pbkit.config.values"), {"interfaces"})

    def test_theReactorIsSeen(self) -> None:
        """An import of the global reactor is found however it is spelled and wherever it stands."""
        for source in (
            "from twisted.internet import reactor",
            "from twisted.internet import task, reactor as r",
            "import twisted.internet.reactor",
            "def f():\n    from twisted.internet.reactor import callLater",
        ):
            self.assertTrue(importsReactor(source, "pbkit.server"), source)
        self.assertFalse(importsReactor("from twisted.internet import task", "pbkit.server"))

    def test_aVagueNameIsSeen(self) -> None:
        """Classes that are called managers, helpers or utilities are found."""
        source = "class SessionManager: ...\nclass Helper: ...\nclass PBUtils: ...\nclass Session: ..."
        self.assertEqual(vagueNames(source), ["SessionManager", "Helper", "PBUtils"])

"""The rules for the structure of the code, checked against the source: see docs/design.rst."""

from __future__ import annotations

import configparser
import re
import sys
from collections import Counter
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

import pbkit
import pbkit.testing
from tests.reading import ROOT, Graph, Key, Module, children, classes, contracted, cycles, graph, mapped, parse, read

#: The package itself, as a room: what `pbkit/__init__.py` re-exports.
PACKAGE = "pbkit"

#: The rooms of pbkit, which are the modules and packages directly in it, with the rooms that each may import.
#: Each may also import itself, `errors` and `interfaces`; but `config` is pure and imports `errors` only.
ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "interfaces": set(),
    "config": set(),
    "dispatch": set(),
    "plain": set(),
    "aio": set(),
    "sessions": {"dispatch", "plain"},
    "wire": {"dispatch", "plain"},
    # These four import what their purpose needs; `sessions` and `wire` never import them.
    "auth": {"plain"},
    "sync": {"plain"},
    "cluster": {"plain"},
    "ops": {"plain"},
    "server": {"dispatch", "sessions", "wire", "auth"},
    "client": {"wire", "auth"},
    "dropin": {"wire", "server", "client"},
    "demo": {"sessions"},
    "serving": {"config", "server", "sessions", "auth", "sync", "cluster", "ops", "wire", "demo", PACKAGE},
    "tap": {"config", "serving", PACKAGE},
    "command": {"client"},
    "cli": {"command", PACKAGE},
    "testing": {"server", "client"},
    PACKAGE: {"dispatch", "sessions", "wire", "server", "client", "dropin"},
}

#: The modules that may import the installed reactor. Everywhere else a clock or a reactor is an argument. `connect()`
#: takes one too, and imports the installed reactor only if it is called without.
REACTOR = {"pbkit.tap", "pbkit.cli", "pbkit.client.connecting"}

#: The packages that may import an optional dependency, inside a function.
OPTIONAL = ("pbkit.auth", "pbkit.sync", "pbkit.cluster", "pbkit.ops", "pbkit.sessions.stores", "pbkit.command")

#: The modules behind the names in `install_requires`.
REQUIRED = {"attrs": {"attr", "attrs"}, "Twisted[tls]": {"twisted", "OpenSSL"}, "zope.interface": {"zope"}}


def wrongRooms(module: Module) -> set[str]:
    """
    Return the rooms that a module imports and may not.

    :raises KeyError: if its own room is not in `ROOMS`.
    """
    used = set()
    for imported in module.imports():
        first, *rest = imported.name.split(".")
        if first == PACKAGE:
            used.add(rest[0] if rest and rest[0] in ROOMS else PACKAGE)
    free = {module.room, "errors"} | ({"interfaces"} if module.room != "config" else set())
    return used - ROOMS[module.room] - free


def importsReactor(module: Module) -> bool:
    """Return whether a module imports the installed reactor."""
    reactor = "twisted.internet.reactor"
    return any(imported.name == reactor or imported.name.startswith(reactor + ".") for imported in module.imports())


def required() -> set[str]:
    """Return the names of the top-level modules that are there wherever pbkit is installed."""
    configuration = configparser.ConfigParser()
    configuration.read(ROOT / "setup.cfg", encoding="utf-8")
    found = {PACKAGE, *sys.stdlib_module_names}
    for line in configuration["options"]["install_requires"].split():
        found |= REQUIRED[re.split("[<>=!~;]", line)[0]]
    return found


def misplacedDependencies(module: Module, present: set[str]) -> set[str]:
    """
    Return the packages that a module imports although they may be missing.

    :param present: the names of the top-level modules that are always there.
    """
    allowed = any(f"{module.name}.".startswith(f"{package}.") for package in OPTIONAL)
    return {
        imported.name.partition(".")[0]
        for imported in module.imports()
        if imported.name.partition(".")[0] not in present and not (allowed and imported.inFunction)
    }


def circular(modules: Mapping[str, Module]) -> set[str]:
    """Return the modules that import each other; and the packages in `wire` and `sessions`, taken for one module."""
    imports = graph(modules)
    graphs: list[Graph] = [
        imports,
        *(contracted(imports, modules, f"{PACKAGE}.{room}") for room in ("sessions", "wire")),
    ]
    return {name for one in graphs for group in cycles(one) for name in group}


def documented(modules: Mapping[str, Module]) -> set[str]:
    """Return the names of the classes that users may subclass: those of the public modules and of the reference."""
    found = {*pbkit.__all__, *pbkit.testing.__all__}
    for page in sorted((ROOT / "docs" / "reference").glob("*.rst")):
        text = page.read_text(encoding="utf-8")
        found |= set(re.findall(r"^\.\. autoclass:: (?:[\w.]*\.)?(\w+)", text, re.MULTILINE))
        for name in re.findall(r"^\.\. automodule:: ([\w.]+)", text, re.MULTILINE):
            found |= {cls.name for cls in classes([modules[name]])}
    return found


def singleChildren(modules: Mapping[str, Module], public: set[str]) -> set[str]:
    """
    Return the base classes that have one subclass only.

    A public class has users' subclasses as well, and a Protocol is a type rather than a base.

    :param public: the names of the public classes.
    """
    protocols: set[Key] = {(cls.module, cls.name) for cls in classes(modules.values()) if cls.isProtocol}
    return {
        f"{name} in {module}, whose only subclass is {subclasses[0].name}"
        for (module, name), subclasses in children(modules).items()
        if len(subclasses) == 1 and name not in public and (module, name) not in protocols
    }


def repeated(modules: Mapping[str, Module]) -> set[str]:
    """Return the names that more than one class has. `dropin` repeats stock's names, so it is left out."""
    counted = Counter(cls.name for cls in classes(modules.values()) if cls.module != "pbkit.dropin")
    return {name for name, count in counted.items() if count > 1}


def unmapped(modules: Mapping[str, Module]) -> set[str]:
    """
    Return the modules that no map names, and the names in a map that are no module.

    The map is in the docstring of the package that holds the module.
    """
    wrong = set()
    existing = {name.rpartition(".")[2] for name in modules} | {"templates"}
    for name, module in modules.items():
        package, _, last = name.rpartition(".")
        if package and last not in mapped(modules[package].docstring):
            wrong.add(f"{package} has no {last}")
        if module.isPackage:
            wrong |= {f"{name} has {gone}, which is gone" for gone in mapped(module.docstring) - existing}
    return wrong


def vagueNames(modules: Mapping[str, Module]) -> set[str]:
    """Return the names of classes that do not say what the class is."""
    return {cls.name for cls in classes(modules.values()) if re.search("Manager|Helper|Utils?$|Utils", cls.name)}


class ArchitectureTests(SynchronousTestCase):
    """The source of pbkit."""

    modules = read()

    def test_isRead(self) -> None:
        """The modules that the other tests read are those of the package."""
        self.assertLessEqual(
            {"pbkit", "pbkit.errors", "pbkit.sessions.session", "pbkit.wire.broker"}, set(self.modules)
        )

    def test_everyRoomIsPlanned(self) -> None:
        """A new module or package in pbkit states in `ROOMS` which rooms it may import."""
        self.assertEqual({module.room for module in self.modules.values()} - set(ROOMS), set())

    def test_roomsImportWhatThePlanAllows(self) -> None:
        """No module imports from a room that its own room may not import."""
        wrong = {f"{name} imports {room}" for name, module in self.modules.items() for room in wrongRooms(module)}
        self.assertEqual(wrong, set())

    def test_sessionsAndWireNeverMeet(self) -> None:
        """Neither `sessions` nor `wire` can reach the other through the rooms that it may import."""
        for start, other in (("sessions", "wire"), ("wire", "sessions")):
            reached, look = set[str](), [start]
            while look:
                reached.add(room := look.pop())
                look += ROOMS[room] - reached
            self.assertEqual(reached & {other, "auth", "sync", "cluster", "ops"}, set())

    def test_importsRunOneWay(self) -> None:
        """No modules import each other, not even for type checking, and no sub-package imports upward."""
        self.assertEqual(circular(self.modules), set())

    def test_reactorIsAnArgument(self) -> None:
        """Only the twistd plugin, the command and `connect()` import the installed reactor."""
        having = {name for name, module in self.modules.items() if importsReactor(module)}
        self.assertEqual(having - REACTOR, set())

    def test_optionalDependencies(self) -> None:
        """What may not be installed is imported inside functions, in the packages that have a use for it."""
        present = required()
        wrong = {
            f"{name} imports {package}"
            for name, module in self.modules.items()
            for package in misplacedDependencies(module, present)
        }
        self.assertEqual(wrong, set())

    def test_noBaseWithASingleChild(self) -> None:
        """No class is a base for one other class only, except for public ones, which users subclass."""
        self.assertEqual(singleChildren(self.modules, documented(self.modules)), set())

    def test_noNameTwice(self) -> None:
        """No two classes have the same name."""
        self.assertEqual(repeated(self.modules), set())

    def test_namesSaySomething(self) -> None:
        """No class is called a manager, a helper or utilities."""
        self.assertEqual(vagueNames(self.modules), set())

    def test_mapsAreComplete(self) -> None:
        """The docstring of each package names each of its modules, and nothing else."""
        self.assertEqual(unmapped(self.modules), set())

    def test_twistedKeepsItsPackages(self) -> None:
        """There is no `__init__.py` beside the plugin: it would be installed over Twisted's own."""
        self.assertEqual(sorted(path.name for path in (ROOT / "twisted").rglob("*.py")), ["pbkit_plugin.py"])


def one(source: str, name: str = "pbkit/sessions/session.py") -> Module:
    """Return a made-up module."""
    (module,) = parse({name: source}).values()
    return module


class ReadingTests(SynchronousTestCase):
    """A planted violation is found."""

    def test_wrongRoom(self) -> None:
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
            self.assertEqual(wrongRooms(one(source)), {"wire"}, source)

    def test_wholePackageIsARoom(self) -> None:
        """A module may not get what it may not import through the package's public names."""
        for source in ("import pbkit", "from pbkit import Broker", "from .. import Broker"):
            self.assertEqual(wrongRooms(one(source)), {PACKAGE}, source)

    def test_ownRoomIsOpen(self) -> None:
        """A module may import its neighbours, the errors and the interfaces."""
        source = "from pbkit.sessions.roster import Roster\nfrom pbkit import errors\nfrom . import mind"
        self.assertEqual(wrongRooms(one(source)), set())
        self.assertEqual(wrongRooms(one("from . import session, roster", "pbkit/sessions/__init__.py")), set())

    def test_configHasNoInterfaces(self) -> None:
        """The configuration is pure: it imports the errors and nothing else of pbkit."""
        source = "from pbkit.errors import ConfigError\nfrom pbkit.interfaces import ILogin"
        self.assertEqual(wrongRooms(one(source, "pbkit/config/values.py")), {"interfaces"})

    def test_cycle(self) -> None:
        """A cycle is found through any number of modules, and if one import is for type checking or in a function."""
        sources = {
            "pbkit/__init__.py": "",
            "pbkit/wire/__init__.py": "",
            "pbkit/wire/a.py": "from pbkit.wire.b import B",
            "pbkit/wire/b.py": "if TYPE_CHECKING:\n    from pbkit.wire import c",
            "pbkit/wire/c.py": "def f():\n    from .a import A",
            "pbkit/wire/d.py": "from . import a",
        }
        self.assertEqual(circular(parse(sources)), {"pbkit.wire.a", "pbkit.wire.b", "pbkit.wire.c"})
        sources["pbkit/wire/c.py"] = ""
        self.assertEqual(circular(parse(sources)), set())

    def test_cycleThroughAPackage(self) -> None:
        """A module that imports from the package that re-exports it is in a cycle."""
        sources = {
            "pbkit/server/__init__.py": "from pbkit.server.factory import ServerFactory",
            "pbkit/server/factory.py": "from pbkit.server import ServerFactory",
        }
        self.assertEqual(circular(parse(sources)), {"pbkit.server", "pbkit.server.factory"})

    def test_upward(self) -> None:
        """A sub-package that imports a module which imports from the sub-package is found, though no module is."""
        sources = {
            "pbkit/wire/__init__.py": "",
            "pbkit/wire/codec/__init__.py": "from pbkit.wire import broker",
            "pbkit/wire/codec/pure.py": "",
            "pbkit/wire/broker.py": "from pbkit.wire.codec import pure",
        }
        self.assertEqual(circular(parse(sources)), {"pbkit.wire.broker", "pbkit.wire.codec"})

    def test_reactor(self) -> None:
        """An import of the installed reactor is found however it is spelled and wherever it stands."""
        for source in (
            "from twisted.internet import reactor",
            "from twisted.internet import task, reactor as r",
            "import twisted.internet.reactor",
            "def f():\n    from twisted.internet.reactor import callLater",
        ):
            self.assertTrue(importsReactor(one(source)), source)
        self.assertFalse(importsReactor(one("from twisted.internet import task")))

    def test_optionalDependency(self) -> None:
        """An optional dependency at the top of a module, or in a package that has no use for it, is found."""
        inside, atTop = "def f():\n    import msgpack", "import msgpack.fallback"
        present = required()
        self.assertEqual(misplacedDependencies(one(inside, "pbkit/cluster/engine.py"), present), set())
        self.assertEqual(misplacedDependencies(one(inside, "pbkit/sessions/stores/files.py"), present), set())
        self.assertEqual(misplacedDependencies(one(atTop, "pbkit/cluster/engine.py"), present), {"msgpack"})
        self.assertEqual(misplacedDependencies(one(inside), present), {"msgpack"})
        self.assertEqual(
            misplacedDependencies(one("import json\nfrom zope.interface import Interface"), present), set()
        )

    def test_singleChild(self) -> None:
        """A base with one subclass is found, in another module too; two subclasses, or a Protocol, are all right."""
        sources = {
            "pbkit/__init__.py": "from pbkit.bases import Base",
            "pbkit/bases.py": "class Base(Generic[T]): ...\nclass Part(Protocol): ...\nclass Broker: ...",
            "pbkit/child.py": "import pbkit\nclass Child(pbkit.Base[int]): ...\nclass One(pbkit.bases.Part): ...",
            "pbkit/other.py": "from twisted.spread import pb\nclass Mine(pb.Broker): ...",
        }
        self.assertEqual(singleChildren(parse(sources), set()), {"Base in pbkit.bases, whose only subclass is Child"})
        self.assertEqual(singleChildren(parse(sources), {"Base"}), set())
        sources["pbkit/other.py"] += "\nfrom .bases import Base\nclass Second(Base): ..."
        self.assertEqual(singleChildren(parse(sources), set()), set())

    def test_nameTwice(self) -> None:
        """Two classes of one name are found, private ones and those in functions too; `dropin` may repeat names."""
        sources = {
            "pbkit/a.py": "class Gate: ...\nclass _Entry: ...\nclass Broker: ...",
            "pbkit/b.py": "class Gate: ...\ndef f():\n    class _Entry: ...",
            "pbkit/dropin.py": "class Broker: ...",
        }
        self.assertEqual(repeated(parse(sources)), {"Gate", "_Entry"})

    def test_vagueName(self) -> None:
        """Classes that are called managers, helpers or utilities are found."""
        source = "class SessionManager: ...\nclass Helper: ...\nclass PBUtils: ...\nclass Session: ..."
        self.assertEqual(vagueNames(parse({"pbkit/a.py": source})), {"SessionManager", "Helper", "PBUtils"})

    def test_incompleteMap(self) -> None:
        """A module that its package's map leaves out is found, and so is a name in a map that is no module."""
        sources = {
            "pbkit/__init__.py": '"""\n::\n\n    wire/  bytes;  errors.py: all of them\n    ../tests.py\n"""',
            "pbkit/errors.py": "",
            "pbkit/plain.py": "",
            "pbkit/wire/__init__.py": '"""\n::\n\n    broker.py  a broker\n\n- `routes`: routes\n"""',
            "pbkit/wire/broker.py": "",
        }
        wrong = {"pbkit has no plain", "pbkit.wire has routes, which is gone"}
        self.assertEqual(unmapped(parse(sources)), wrong)

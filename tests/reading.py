"""
Read the source of a package without importing it: its imports, its classes, and the maps in its docstrings.

`read` gives the modules of pbkit, `parse` those of a source that a test makes up::

    modules = parse({"pbkit/__init__.py": "", "pbkit/wire/broker.py": "from pbkit.wire import channel"})
    cycles(graph(modules))          # the modules that import each other

An import counts wherever it stands: at the top, in a function, or under ``if TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parent.parent

#: A class: the name of its module and its own.
Key = tuple[str, str]

#: What each module imports.
Graph = dict[str, set[str]]


@attrs.frozen
class Import:
    """
    One name that a module imports.

    :ivar name: dotted; "a.b" for ``import a.b`` and for ``from a import b``.
    :ivar inFunction: True if the import runs when a function is called, not when the module is imported.
    """

    name: str
    inFunction: bool


@attrs.frozen
class Module:
    """
    One source file.

    :ivar name: its dotted name; that of the package for an ``__init__``.
    :ivar isPackage: True for an ``__init__``.
    """

    name: str
    isPackage: bool
    tree: ast.Module = attrs.field(repr=False)

    @property
    def room(self) -> str:
        """The module or package directly in pbkit that this module is or belongs to; "pbkit" for pbkit itself."""
        return [*self.name.split("."), self.name][1]

    @property
    def docstring(self) -> str:
        """The module's docstring, or an empty string."""
        return ast.get_docstring(self.tree) or ""

    def imports(self) -> Iterator[Import]:
        """Yield every import of the module."""
        yield from _importsIn(self.tree, self, inFunction=False)

    def absolute(self, node: ast.ImportFrom) -> str:
        """Return the absolute name of what stands between ``from`` and ``import``."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        above = parts[: len(parts) - node.level + self.isPackage]
        return ".".join([*above, *filter(None, [node.module])])


def _importsIn(tree: ast.AST, module: Module, inFunction: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, inFunction) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = module.absolute(node)
            yield from (Import(f"{start}.{alias.name}", inFunction) for alias in node.names)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _importsIn(node, module, inFunction or inside)


def parse(sources: Mapping[str, str]) -> dict[str, Module]:
    """
    Parse a made-up source.

    :param sources: the text of each file by its path, such as "pbkit/wire/broker.py".
    :return: the modules by their dotted names.
    """
    modules = {}
    for path, text in sources.items():
        parts = path.removesuffix(".py").split("/")
        isPackage = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if isPackage else parts)
        modules[name] = Module(name, isPackage, ast.parse(text))
    return modules


def read(package: str = "pbkit") -> dict[str, Module]:
    """Return the modules of a package in this tree by their dotted names."""
    paths = sorted((ROOT / package).rglob("*.py"))
    return parse({path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths})


def graph(modules: Mapping[str, Module]) -> Graph:
    """
    Return which of the modules each of them imports.

    A name in a package that is no module of it counts as an import of the package. The packages around an imported
    module, which Python imports first, are not counted: a package may re-export what its modules define.
    """
    found: Graph = {}
    for module in modules.values():
        targets = set()
        for imported in module.imports():
            name = imported.name
            while name and name not in modules:
                name = name.rpartition(".")[0]
            targets.add(name)
        found[module.name] = targets - {"", module.name}
    return found


def cycles(imports: Graph) -> list[set[str]]:
    """
    Return the groups of modules that import each other, directly or through others.

    :param imports: what each module imports.
    """
    reached = {name: _reachable(imports, name) for name in imports}
    groups: list[set[str]] = []
    for name in sorted(imports):
        if name in reached[name] and not any(name in group for group in groups):
            groups.append({other for other in reached[name] if name in reached.get(other, ())})
    return groups


def _reachable(imports: Graph, start: str) -> set[str]:
    reached, look = set[str](), list(imports[start])
    while look:
        if (name := look.pop()) not in reached:
            reached.add(name)
            look += imports.get(name, ())
    return reached


def contracted(imports: Graph, modules: Mapping[str, Module], package: str) -> Graph:
    """
    Return the imports inside a package, with each sub-package taken for one module.

    :param package: such as "pbkit.wire".
    """
    prefix = package + "."

    def node(name: str) -> str:
        first = prefix + name.removeprefix(prefix).partition(".")[0]
        return first if first in modules and modules[first].isPackage else name

    found: Graph = {}
    for name, targets in imports.items():
        if name.startswith(prefix):
            inside = {node(target) for target in targets if target.startswith(prefix)}
            found.setdefault(node(name), set()).update(inside - {node(name)})
    return found


@attrs.frozen
class Class:
    """
    One class statement.

    :ivar module: the name of the module that defines it.
    :ivar bases: its bases as they are written, without type arguments.
    """

    module: str
    name: str
    bases: tuple[str, ...]

    @property
    def isProtocol(self) -> bool:
        """True for a Protocol and for an interface of zope: a type, not a base to inherit code from."""
        return any(base.rpartition(".")[2] in ("Protocol", "Interface") for base in self.bases)


def classes(modules: Iterable[Module]) -> Iterator[Class]:
    """Yield each class that the modules define, inside functions and other classes too."""
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                bases = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
                yield Class(module.name, node.name, tuple(ast.unparse(base) for base in bases))


def names(module: Module) -> dict[str, str]:
    """Return what each name that a module imports stands for: the dotted name of a module or of something in one."""
    bound: dict[str, str] = {}
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                whole, first = alias.name, alias.name.partition(".")[0]
                bound |= {alias.asname: whole} if alias.asname else {first: first}
        elif isinstance(node, ast.ImportFrom):
            start = module.absolute(node)
            bound |= {alias.asname or alias.name: f"{start}.{alias.name}" for alias in node.names}
    return bound


def children(modules: Mapping[str, Module]) -> dict[Key, list[Class]]:
    """
    Return the direct subclasses of each class that has some, both among the modules.

    A base is found through the imports of its subclass's module, so stock's ``pb.Broker`` is not taken for pbkit's.
    """
    found: dict[Key, list[Class]] = {}
    everything = list(classes(modules.values()))
    defined = {(cls.module, cls.name) for cls in everything}
    bound = {name: names(module) for name, module in modules.items()}

    def resolve(module: str, name: str) -> Key | None:
        """Return the class that a dotted name means in a module, through any number of re-exports."""
        for _ in range(10):
            if (module, name) in defined:
                return module, name
            first, _, rest = name.partition(".")
            target = bound.get(module, {}).get(first)
            if target is None:
                return None
            whole = f"{target}.{rest}" if rest else target
            module, _, name = whole.rpartition(".")
        return None

    for cls in everything:
        for base in cls.bases:
            key = resolve(cls.module, base)
            if key is not None:
                found.setdefault(key, []).append(cls)
    return found


def mapped(docstring: str) -> set[str]:
    """
    Return the modules and packages that the map in a docstring names.

    A map names a module "broker.py" or, at the beginning of a list item, "`broker`"; a package "codec/" or "`codec`". A
    path with more than one part, such as "../pytest_pbkit.py", is left out.
    """
    files = re.findall(r"(?<![\w/.])([a-z_]+)(?:\.py\b|/)(?![\w/])", docstring)
    return {*files, *re.findall(r"^- `([a-z_]+)`", docstring, re.MULTILINE)}

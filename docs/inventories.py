"""
Make the inventories with which Sphinx links to the documentation of Python and Twisted.

The pages must build without a network, so small inventories are kept in ``docs/inventories/``. Run
``python docs/inventories.py PYTHON.inv`` to make them again: PYTHON.inv is ``objects.inv`` from
https://docs.python.org/3/. Twisted's is made from the installed Twisted, in the form of the addresses of pydoctor,
which writes https://docs.twisted.org/en/stable/api/.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent / "inventories"

#: The modules whose names are kept; "" stands for the built-in names.
PYTHON = ("", "asyncio", "collections.abc", "contextvars", "dataclasses", "enum", "gc", "ipaddress", "secrets", "ssl",
          "tomllib", "typing", "unittest")  # fmt: skip

TWISTED = (
    "application.internet", "application.service", "cred.checkers", "cred.credentials", "cred.error", "cred.portal",
    "internet.address", "internet.base", "internet.defer", "internet.endpoints", "internet.error",
    "internet.interfaces", "internet.protocol", "internet.task", "logger", "python.failure", "python.usage",
    "spread.banana", "spread.flavors", "spread.interfaces", "spread.jelly", "spread.pb", "spread.util",
    "trial.unittest",
)  # fmt: skip


def write(name: str, title: str, version: str, lines: list[str]) -> None:
    """
    Write one inventory.

    :param name: the file, without its suffix.
    :param title: the name of the project.
    :param version: the version of the project.
    :param lines: an entry each: ``NAME DOMAIN:ROLE PRIORITY ADDRESS TITLE``.
    """
    head = (
        "# Sphinx inventory version 2\n"
        f"# Project: {title}\n# Version: {version}\n"
        "# The remainder of this file is compressed using zlib.\n"
    )
    body = "".join(f"{line}\n" for line in sorted(lines))
    (HERE / f"{name}.inv").write_bytes(head.encode() + zlib.compress(body.encode(), 9))


def python(inventory: bytes) -> list[str]:
    """
    Return the entries of Python's inventory that are kept.

    :param inventory: the content of ``objects.inv``.
    """
    _, _, rest = inventory.partition(b"zlib.\n")
    kept = []
    for line in zlib.decompress(rest).decode().splitlines():
        name, role, *_ = line.split(" ")
        module = name.rpartition(".")[0]
        if role.startswith("py:") and (
            module in PYTHON or (role == "py:method" and module.rpartition(".")[0] in PYTHON)
        ):
            kept.append(line)
    return kept


def twisted() -> Iterator[str]:
    """Yield an entry for each public class, function and method of `TWISTED`."""
    for short in TWISTED:
        path = f"twisted.{short}"
        module = importlib.import_module(path)
        yield f"{path} py:module 0 {path}.html -"
        for name, value in vars(module).items():
            if name.startswith("_"):
                continue
            if inspect.isclass(value) or hasattr(value, "implementedBy"):
                # The class has a page where it is defined; a name under which it is imported leads there.
                home = f"{value.__module__}.{value.__name__}"
                if not home.startswith("twisted."):
                    continue
                yield f"{path}.{name} py:class 1 {home}.html -"
                for method, function in vars(value).items():
                    if inspect.isfunction(function) and not method.startswith("_"):
                        yield f"{path}.{name}.{method} py:method 1 {home}.html#{method} -"
            elif inspect.isfunction(value) and value.__module__ == path:
                yield f"{path}.{name} py:function 1 {path}.html#{name} -"


def main() -> None:
    """Write both inventories."""
    import twisted as package

    HERE.mkdir(exist_ok=True)
    write("python", "Python", "3", python(Path(sys.argv[1]).read_bytes()))
    write("twisted", "Twisted", package.__version__, list(twisted()))


if __name__ == "__main__":
    main()

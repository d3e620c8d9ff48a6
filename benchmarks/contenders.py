"""
The contenders.
"""

from __future__ import annotations

from importlib.util import find_spec

import attrs

from benchmarks.works import Work, matches

#: The works that consist of calls.
CALLS = ("sequential", "small", "structure", "blob", "ints")
#: The works with many connections.
MANY = ("fanout", "memory")


@attrs.frozen(eq=False)
class Contender:
    """
    A contender: a server and a client, each a process of its own.

    :ivar name: the name for ``--peers``. The part before a dash or slash names the family.
    :ivar title: the name on the page.
    :ivar server: the module in `benchmarks.peers`, and its arguments.
    :ivar client: the same for the client.
    :ivar works: the works that it can do, as for ``--work``.
    :ivar needs: the required distributions, by the name of the imported module.
    :ivar pure: True to use pbkit's pure Python codec; None if the contender does not use pbkit.
    :ivar baseline: the contender that it is compared with, for works without a login.
    :ivar cannot: the reasons why it cannot do some works, for the page.
    :ivar remark: a remark for the page.
    """

    name: str
    title: str
    server: tuple[str, ...]
    client: tuple[str, ...]
    works: tuple[str, ...]
    needs: dict[str, str] = attrs.Factory(dict)
    pure: bool | None = None
    baseline: str = "stock/root"
    cannot: dict[str, str] = attrs.Factory(dict)
    remark: str = ""

    @property
    def missing(self) -> str:
        """Return the names of the required distributions that are not installed, or an empty string."""
        lacking = [package for module, package in self.needs.items() if find_spec(module) is None]
        return f"{', '.join(lacking)} not installed: pip install -e '.[bench]'" if lacking else ""

    def comparedAt(self, work: Work) -> str:
        """
        Return the name of the contender that it is compared with.
        """
        return "stock/realm" if work.kind == "login" else self.baseline

    def can(self, work: Work) -> bool:
        """
        Return True if the contender can do a work.
        """
        return matches(work.name, self.works) and not self.whyNot(work)

    def whyNot(self, work: Work) -> str:
        """
        Return the reason why the contender cannot do a work, or an empty string.
        """
        return next((why for name, why in self.cannot.items() if matches(work.name, [name])), "")


def _perspective(name: str, title: str, server: str, client: str, served: str, pure: bool | None) -> Contender:
    works = (*CALLS, *MANY) if served == "root" else (*CALLS, "login", *MANY)
    return Contender(
        name,
        title,
        (server, served),
        (client, served),
        works,
        pure=pure,
        baseline=f"stock/{served}",
    )


CONTENDERS: tuple[Contender, ...] = (
    _perspective("stock/root", "stock PB, root object", "stock", "stock", "root", None),
    _perspective("stock/realm", "stock PB, logged in", "stock", "stock", "realm", None),
    _perspective("pbkit-pure/root", "pbkit, pure Python, root object", "pbkit", "pbkit", "root", True),
    _perspective("pbkit-pure/realm", "pbkit, pure Python, realm and session", "pbkit", "pbkit", "realm", True),
    _perspective("pbkit-compiled/root", "pbkit, compiled, root object", "pbkit", "pbkit", "root", False),
    _perspective("pbkit-compiled/realm", "pbkit, compiled, realm and session", "pbkit", "pbkit", "realm", False),
    _perspective("pbkit-pure/stock-client", "pbkit, pure Python, stock client", "pbkit", "stock", "realm", True),
    _perspective("pbkit-compiled/stock-client", "pbkit, compiled, stock client", "pbkit", "stock", "realm", False),
    _perspective("dropin/root", "pbkit, drop-in, root object", "dropin", "dropin", "root", None),
    _perspective("dropin/realm", "pbkit, drop-in, stock's realm", "dropin", "dropin", "realm", None),
    Contender(
        "amp",
        "AMP",
        ("amp",),
        ("amp",),
        (*CALLS, *MANY),
        cannot={
            "blob": "AMP limits a value to 65,535 bytes",
            "ints-10000": "AMP limits a value to 65,535 bytes",
            "ints-100000": "AMP limits a value to 65,535 bytes",
        },
        remark="Uses typed arguments: each field of the structure is declared.",
    ),
    Contender(
        "foolscap",
        "Foolscap",
        ("foolscap",),
        ("foolscap",),
        CALLS,
        {"foolscap": "foolscap"},
        remark="Uses TLS, its only transport.",
    ),
    Contender(
        "rpyc",
        "RPyC",
        ("rpyc",),
        ("rpyc",),
        CALLS,
        {"rpyc": "rpyc"},
        remark="Does not use Twisted. Lists are sent as tuples, dicts as tuples of pairs; others by reference.",
    ),
    Contender(
        "autobahn",
        "autobahn WebSocket, msgpack",
        ("autobahn",),
        ("autobahn",),
        (*CALLS, *MANY),
        {"autobahn": "autobahn", "msgpack": "msgpack"},
        remark="A fan-out uses autobahn's prepared messages, which are framed once.",
    ),
    Contender(
        "grpc",
        "grpc.aio, msgpack",
        ("grpcaio",),
        ("grpcaio",),
        (*CALLS, *MANY),
        {"grpc": "grpcio", "msgpack": "msgpack"},
        remark="Uses asyncio. A fan-out is a stream to each client; the notice is encoded once.",
    ),
    Contender(
        "frames",
        "floor: msgpack frames (msgspec) on Twisted",
        ("frames",),
        ("frames",),
        (*CALLS, *MANY),
        {"msgspec": "msgspec"},
        remark="Four bytes of length, then msgpack: no ids, no errors, no objects.",
    ),
    Contender(
        "line",
        "floor: raw lines on Twisted",
        ("line",),
        ("line",),
        ("sequential", "small", "login", *MANY),
        remark="Echoes bytes without encoding. Its login is a connection and one line in each direction.",
    ),
)

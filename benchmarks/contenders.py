"""
Who is measured.
"""

from __future__ import annotations

from importlib.util import find_spec

import attrs

from benchmarks.works import Work, matches

#: Works that are made of calls.
CALLS = ("sequential", "small", "structure", "blob", "ints")
#: Those with many connections.
MANY = ("fanout", "memory")


@attrs.frozen(eq=False)
class Contender:
    """
    One that is measured: a server and a client, each a process of its own.

    :ivar name: for ``--peers``; what it begins with, up to a dash or slash, names the family.
    :ivar title: for people.
    :ivar server: the module in `benchmarks.peers`, and what it is told.
    :ivar client: the same.
    :ivar works: those that it can do, as for ``--work``.
    :ivar needs: the distributions that it needs, by the name of the module that is imported.
    :ivar pure: whether pbkit's compiled core is to be left out; None where there is no pbkit.
    :ivar baseline: the contender that it is compared with, where there is no login.
    :ivar cannot: why a work is left out, for those where one may wonder.
    :ivar remark: what is to be known of it.
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
        """What it needs and is not installed, or nothing."""
        lacking = [package for module, package in self.needs.items() if find_spec(module) is None]
        return f"{', '.join(lacking)} not installed: pip install -e '.[bench]'" if lacking else ""

    def comparedAt(self, work: Work) -> str:
        """
        :return: the name of the contender that it is compared with.
        """
        return "stock/realm" if work.kind == "login" else self.baseline

    def can(self, work: Work) -> bool:
        """
        :return: whether this work makes sense for it.
        """
        return matches(work.name, self.works) and not self.whyNot(work)

    def whyNot(self, work: Work) -> str:
        """
        :return: why not, where one may wonder; or nothing.
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

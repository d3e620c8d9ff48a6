"""
pbkit: the session layer that Twisted's Perspective Broker never had.

A map of the code; each package has a map of its modules in its docstring::

    interfaces.py   the typed contracts between the packages: ILogin, IPeer, IChannel, ISession
    errors.py       every error, one class per reason
    dispatch.py     how a call reaches a method
    plain.py        plain data: its size and its copies
    sessions/       WHO IS LOGGED IN. Knows no sockets and no bytes
        login/          how a login becomes a session: admission, arbitration, reservation, handover, hooks
        messaging/      reaching clients: telling, asking, queues for slow clients, topics, presence
    wire/           BYTES. Knows no sessions
        codec/          Banana and jelly in one pass, without I/O: in Python and compiled
        jelly/          objects to messages and back
        prelogin/       what an unauthenticated connection may do
    server/         the server factory and the login root, where wire and sessions meet
    client/         connect(): a login that always fires; errors turned back into exceptions
    auth/           credentials and the checkers for them
    dropin.py       Broker, PBServerFactory and PBClientFactory, to swap under an existing program
    demo.py         the avatar of a server that names none
    config/         from flags and a file to frozen dataclasses; pure
    serving/        from those to running services: the only place that wires everything together
    tap.py          twistd's options
    command/        what the `pbkit` command does
    cli.py          its options
    testing/        for users' own tests: a realm served in memory;  ../pytest_pbkit.py: a fixture for pytest

The names in `__all__` are the public interface. They keep their meaning from one release to the next; a removal is
announced in the changelog one release before. Everything else may change.
"""

from pbkit import errors
from pbkit.client.connecting import connect
from pbkit.client.factory import ClientFactory
from pbkit.client.session import ClientSession
from pbkit.dispatch import cancelWithSession
from pbkit.interfaces import currentSession
from pbkit.server import ServerFactory
from pbkit.sessions.avatar import Avatar
from pbkit.sessions.lifecycle import Cached, Disposable, Lingering, PerLogin
from pbkit.sessions.login.admission import Admit, Probe, Refuse, allOf, atMost, kick, perAvatar, perPeer, probe, total
from pbkit.sessions.messaging.delivery import Summary, Told
from pbkit.sessions.messaging.mind import Mind
from pbkit.sessions.messaging.slowpolicy import coalesce, dropOldest, kickAfter
from pbkit.sessions.messaging.topics import Topic
from pbkit.sessions.parameters import param
from pbkit.sessions.realm import Realm
from pbkit.sessions.realms import (
    AnonymousRealm,
    CachingRealm,
    ClientlessRealm,
    ClockRealm,
    LimitedRealm,
    MultiClientRealm,
    PerConnectionRealm,
    SingleClientRealm,
)
from pbkit.sessions.roster import Roster
from pbkit.sessions.session import Session
from pbkit.wire.broker import Broker

__version__ = "0.1.0"

__all__ = [
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

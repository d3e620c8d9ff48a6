"""
pbkit: the session layer that Twisted's Perspective Broker never had.

A map of the code, for whoever comes new::

    interfaces.py   where the two halves meet: ILogin, IPeer, IChannel, ISession
    errors.py       every error, one class for each reason
    dispatch.py     how a call reaches a method;  plain.py: plain data, its size and its copies
    sessions/       WHO IS HERE. Knows no socket, no byte
        realm.py        what users override and what portals call
        entering.py     how a login becomes a session, and what follows when that ends
        realms.py       the eight named realms, each a few lines
        session.py      what the client's reference points at; ends once, from anywhere
        goodbye.py      how the server takes its leave of a client
        operations.py   kick, ban, drain;  bans.py: who is not let in;  sweep.py: who is idle, or here, for too long
        roster.py       the index of live sessions and of held places
        admission.py    who may be in: pure decisions
        arbitration.py  what is between a login and its place;  changes.py: no wars;  handover.py: first out, then in
        lifecycle.py    how long an avatar lives
        avatar.py       what users subclass;  mind.py: a safe hold on a client
        slow.py         what is done for clients that do not keep up;  outbox.py: what waits for one
        telling.py      telling many;  topics.py: groups of sessions;  presence.py: who is here
        hall.py         what the sessions of a realm have in common;  wheel.py: many clocks on one timer
    wire/           BYTES. Knows no session
        broker.py       stock's Broker, with channels
        codec.py        bytes to messages and back;  purecodec.py: in Python, _codec.c: compiled
        channel.py      one session's part of a connection, and its end;  tables.py: its references
        jellier.py      objects made into messages;  unjellier.py: and back, of classes that allowed.py lists
        caching.py      Cacheables: who has a copy of what
        profile.py      all bounds;  intake.py, outflow.py: the way in and out;  calls.py: each is answered
        threshold.py    before a login;  gate.py: what may be said;  waiting.py: who may stay;  watch.py: who is silent
        journal.py      what a connection may have written into the log
        peer.py         a connection as sessions see it
    server/         the server factory and the login root: where wire and sessions meet
    client/         connect(): a login that always fires, errors turned back into exceptions
    dropin.py       the same classes under stock's names
    auth/           checkers that work with PB's login
    config/         from flags and a file to frozen dataclasses; pure
    serving/        from these to a running service: THE place that wires
    tap.py          twistd's options
    command/        what the `pbkit` command does;  cli.py: its options
    testing/        for users' own tests: a realm served in memory;  ../pytest_pbkit.py: its fixture for pytest

What stands in `__all__` is the public interface; it keeps its meaning from one release to the next, and what
goes is announced in the changelog a release before. Everything else may change.
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

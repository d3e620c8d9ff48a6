"""
From a description to a running server: the place that wires.

`prepare` decides and checks everything and opens nothing; `Server` opens what was decided, all of it or
none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from twisted.application.service import MultiService, Service
from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IAnonymous
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import qual

from pbkit import __version__, announce
from pbkit.auth import AnyOf, makeChecker
from pbkit.config import ServerConfig, loopbackOnly
from pbkit.errors import ConfigError
from pbkit.resolve import describe, makeRealm
from pbkit.server import ServerFactory
from pbkit.sessions.realm import Realm
from pbkit.sessions.realms import AnonymousRealm

log = Logger()


@dataclass(frozen=True)
class Plan:
    """
    A server, decided and checked but not opened.

    :ivar realm: who is here.
    :ivar checkers: who may be.
    :ivar listen: endpoints, each with its description.
    :ivar guest: the one user, if the operator named no checker and the realm is not for anonymous log-ins.
    :ivar announced: whether to say on the terminal how to log in.
    """

    realm: Any
    checkers: tuple[Any, ...]
    listen: tuple[tuple[str, IStreamServerEndpoint], ...]
    guest: announce.Guest | None = None
    announced: bool = False


class Terminal(Protocol):
    """What the operator looks at while the server starts. Nothing said here is in the log."""

    def say(self, text: str) -> None:
        """Show a line."""

    def complain(self, text: str) -> None:
        """Show a line that says what is wrong."""

    def close(self) -> None:
        """The start is over; idempotent."""


class StartFailed(SystemExit, Exception):
    """
    The server could not be started.

    A SystemExit, so that the process ends with status 1 and without a traceback, for the line about it
    has been shown and logged; an Exception too, so that twistd clears up as after any other.

    :param text: why.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = 1


def prepare(config: ServerConfig, reactor: Any) -> Plan:
    """
    Decide what a description means, and see whether it can be done, short of opening anything.

    :param reactor: what the endpoints will listen with.
    :raises ConfigError: something in it cannot be; the text says what would be right.
    """
    realm = makeRealm(config)
    checkers = tuple(makeChecker(text) for text in config.auth)
    guest = None
    if not checkers:
        _mustBeLocal(config, realm)
        # A realm with guests of its own takes those too; only one that is all for guests has no other user.
        if getattr(realm, "takesAnonymous", False):
            checkers += (AllowAnonymousAccess(),)
        if not isinstance(realm, AnonymousRealm):
            guest = announce.Guest()
            users = InMemoryUsernamePasswordDatabaseDontUse()
            users.addUser(guest.name.encode("ascii"), guest.password.encode("ascii"))
            checkers += (users,)
    elif isinstance(realm, Realm) and not realm.takesAnonymous and all(map(_letsInAnonymous, checkers)):
        raise ConfigError(
            f"auth anonymous: the realm {config.realm.name} refuses anonymous log-ins; serve the realm "
            "anonymous, or one of your own made with anonymous=AnonymousRealm(...)"
        )
    listen = tuple((text, _endpoint(text, reactor)) for text in config.listen)
    if not listen:
        raise ConfigError("nowhere to listen: name at least one endpoint, such as tcp:8787:interface=127.0.0.1")
    return Plan(realm, checkers, listen, guest, announced=not config.auth)


def _letsInAnonymous(checker: Any) -> bool:
    return IAnonymous in checker.credentialInterfaces


def _mustBeLocal(config: ServerConfig, realm: Any) -> None:
    for text in config.listen:
        if not loopbackOnly(text):
            example = "anonymous" if isinstance(realm, AnonymousRealm) else "file:passwd"
            raise ConfigError(
                f"listen {text}: without --auth only this machine may reach the server; add "
                f"interface=127.0.0.1, or say who may log in, for example --auth {example}"
            )


def _endpoint(text: str, reactor: Any) -> IStreamServerEndpoint:
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
    except Exception as e:
        # From a wrong number to a certificate that cannot be read: the parsers let through anything.
        reason = " ".join(str(e).split()) or type(e).__name__
        raise ConfigError(
            f"listen {text!r}: {reason}; it is written like tcp:8787:interface=127.0.0.1, "
            "ssl:8787:privateKey=key.pem:certKey=cert.pem or unix:/path"
        ) from None
    return endpoint


class Listener(Service):
    """
    One open door.

    :param description: of the endpoint, for people.
    :param opened: called with the description and the address once it listens.
    :param failed: called with the failure if that shows only after `startService` has returned.
    """

    def __init__(
        self,
        description: str,
        endpoint: IStreamServerEndpoint,
        factory: ServerFactory,
        opened: Callable[[str, Any], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self.description = description
        self._endpoint = endpoint
        self._factory = factory
        self._opened = opened
        self._failed = failed
        self._listening: Deferred[Any] | None = None

    def privilegedStartService(self) -> None:
        """
        Listen; while the process still has the rights to, if it is to give them up.

        :raises Exception: whatever the endpoint fails with.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        atOnce: list[Failure] = []
        report = atOnce.append
        self._listening = self._endpoint.listen(self._factory)
        self._listening.addCallbacks(self._isOpen, lambda failure: report(failure))
        if atOnce:
            self._listening = None
            atOnce[0].raiseException()
        report = self._failedLater

    def startService(self) -> None:
        """Listen, unless that is done already."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._listening is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[Any]:
        """
        :return: a Deferred that fires when the port is closed.
        """
        super().stopService()  # type: ignore[no-untyped-call]
        listening, self._listening = self._listening, None
        if listening is None:
            return maybeDeferred(lambda: None)
        listening.cancel()
        return listening.addCallback(lambda port: None if port is None else port.stopListening())

    def _isOpen(self, port: IListeningPort) -> IListeningPort:
        self._opened(self.description, port.getHost())
        return port

    def _failedLater(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._failed(failure)


class Server(MultiService):
    """
    A PB server as a service: its listeners are its children.

    Starting it opens all of them, or none and raises. Stopping it closes them, then ends every session and
    waits for their `detached` hooks, 5 s at most.

    :param plan: from `prepare`.
    :param reactor: for its clock.
    :param terminal: for what the operator must see.
    """

    def __init__(self, plan: Plan, reactor: Any, terminal: Terminal) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.plan = plan
        self._reactor = reactor
        self._terminal = terminal
        self._begun = False
        self._started = False
        self._toAnnounce: list[tuple[str, Any]] = []
        self._open = 0
        checkers = plan.checkers if len(plan.checkers) < 2 else (AnyOf(plan.checkers),)
        self.factory = ServerFactory(Portal(plan.realm, checkers), clock=reactor)
        # "Starting factory <...>" for each port says nothing that our own lines do not.
        self.factory.noisy = False
        for description, endpoint in plan.listen:
            listener = Listener(description, endpoint, self.factory, self._opened, self._failedLater)
            self.addService(listener)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """
        Open all listeners.

        :raises StartFailed: one could not be opened; none is open then.
        """
        self._allOrNone(super().privilegedStartService)

    def startService(self) -> None:
        """
        Open the listeners that are not open yet.

        :raises StartFailed: one could not be opened; none is open then.
        """
        self._allOrNone(super().startService)

    def stopService(self) -> Deferred[None]:
        """
        :return: a Deferred that fires when every session has ended and been told.
        """
        return Deferred.fromCoroutine(self._stop())

    def _allOrNone(self, start: Callable[[], object]) -> None:
        if not self._begun:
            self._begun = True
            name, parameters = describe(self.plan.realm)
            log.info(
                "pbkit {version} starting: realm {realm} {parameters}, avatar {avatar}, profile {profile}",
                version=__version__,
                realm=name,
                parameters=parameters,
                avatar=_avatarName(self.plan.realm),
                profile=self.factory.profile.name,
            )
        try:
            start()
        except Exception as e:
            reason = _reason(e)
            log.critical("pbkit could not start: {reason}", reason=reason)
            self._terminal.complain(f"pbkit could not start: {reason}")
            self._terminal.close()
            self._closeAll()
            raise StartFailed(reason) from None
        self._started = True
        self._announce()

    def _closeAll(self) -> None:
        for child in self:
            maybeDeferred(child.stopService).addErrback(_logged)
        # Ports close in the next turn of the reactor, and if it does not run yet it never will: the process
        # is about to end. Without that turn a Unix socket would stay behind as a file.
        if not getattr(self._reactor, "running", True):
            self._reactor.iterate()

    def _opened(self, description: str, address: Any) -> None:
        log.info("listening on {address} ({description})", address=address, description=description)
        self._toAnnounce.append((description, address))
        if self._started:
            self._announce()

    def _announce(self) -> None:
        """Say how to log in, where that has not been said yet. Not before all is known to be well."""
        places, self._toAnnounce = self._toAnnounce, []
        if self.plan.announced and places:
            avatarClass = getattr(self.plan.realm, "avatarClass", None)
            method = "greet" if hasattr(avatarClass, "perspective_greet") else "METHOD"
            for line in announce.lines(self.plan.guest, method, places):
                self._terminal.say(line)
        self._open += len(places)
        if self._open == len(self.plan.listen):
            self._terminal.close()

    def _failedLater(self, failure: Failure) -> None:
        """A server one of whose doors does not open is not what was asked for."""
        log.critical("pbkit could not start: {reason}", reason=_reason(failure.value or Exception()))
        self._reactor.callWhenRunning(self._reactor.stop)

    async def _stop(self) -> None:
        await maybeDeferred(super().stopService)
        realm = self.plan.realm
        if not isinstance(realm, Realm):
            log.info("pbkit stopped")
            return
        await realm.close()
        counters = [one.counters for one in (realm, realm.anonymous) if one is not None]
        log.info(
            "pbkit stopped: {logins} log-ins, {refusals} refused; sessions ended: {ends}",
            logins=sum(one.logins for one in counters),
            refusals=sum(sum(one.refusals.values()) for one in counters),
            ends=dict(sum((one.ends for one in counters), Counter())),
        )


def _avatarName(realm: Any) -> str:
    avatarClass = getattr(realm, "avatarClass", None)
    return "the realm's own" if avatarClass is None else qual(avatarClass)


def _logged(failure: Failure) -> None:
    log.failure("closing a listener failed", failure)


def _reason(error: BaseException) -> str:
    if isinstance(error, CannotListenError):
        text = getattr(error.socketError, "strerror", None) or error.socketError
        where = error.port if isinstance(error.port, str) else f"{error.interface or '*'}:{error.port}"
        return f"cannot listen on {where}: {text}"
    return f"cannot listen: {error}"

"""
The running server. `Server` opens what a `Plan` has decided: all of it, or nothing.
"""

from __future__ import annotations

import errno
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.application.service import MultiService, Service
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import qual

from pbkit import __version__
from pbkit.auth import AnyOf
from pbkit.errors import Shutdown
from pbkit.server import ServerFactory
from pbkit.serving import announce
from pbkit.serving.plan import Plan, prepare
from pbkit.serving.resolve import describeRealm
from pbkit.sessions.realm import Realm
from pbkit.wire.codec import compiled

__all__ = ["Listener", "Plan", "Server", "StartFailed", "Terminal", "prepare"]

#: The share of the grace that clients and running calls have. The rest is for aborting connections and for `detached`
#: hooks.
DRAIN_SHARE = 0.8

log = Logger()


class Terminal(Protocol):
    """The operator's terminal while the server starts. Lines shown here are not logged."""

    def say(self, text: str) -> None:
        """Show a line."""

    def complain(self, text: str) -> None:
        """Show an error."""

    def close(self) -> None:
        """Release the terminal when the start is complete; idempotent."""


class StartFailed(SystemExit, Exception):
    """
    The server could not start.

    As a SystemExit it ends the process with status 1 and without a traceback; the reason has been shown and logged by
    then. It is also an Exception, so that twistd cleans up.

    :param text: the reason.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.code = 1


class Listener(Service):
    """
    One listener, as a service.

    :param description: the endpoint description, for people.
    :param endpoint: where to listen.
    :param factory: builds the protocol of each connection.
    :param opened: called with the description and the address when the listener is open.
    :param failed: called with the failure if the endpoint fails after `startService` has returned.
    """

    def __init__(
        self,
        description: str,
        endpoint: IStreamServerEndpoint,
        factory: ServerFactory,
        opened: Callable[[str, IAddress], None],
        failed: Callable[[Failure], None],
    ) -> None:
        self.description = description
        self._endpoint = endpoint
        self._factory = factory
        self._opened = opened
        self._failed = failed
        self._listening: Deferred[IListeningPort | None] | None = None

    def privilegedStartService(self) -> None:
        """
        Start to listen, before the process drops its privileges.

        :raises Exception: the endpoint failed.
        """
        super().privilegedStartService()  # type: ignore[no-untyped-call]
        failures: list[Failure] = []
        report = failures.append
        listening: Deferred[IListeningPort] = self._endpoint.listen(self._factory)
        self._listening = listening.addCallbacks(self._isOpen, lambda failure: report(failure))
        if failures:
            self._listening = None
            failures[0].raiseException()
        report = self._failedLater

    def startService(self) -> None:
        """Start to listen, unless `privilegedStartService` did."""
        super().startService()  # type: ignore[no-untyped-call]
        if self._listening is None:
            self.privilegedStartService()

    def stopService(self) -> Deferred[object]:
        """
        Stop listening.

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
    A PB server as a service. Its listeners are its children.

    Starting it opens all listeners; if one fails, it closes the others and raises. Stopping it closes them and drains
    the realm: clients get a goodbye, running calls are answered, every session ends, and the `detached` hooks run, all
    within the grace.

    :param plan: from `prepare`.
    :param reactor: the clock, and what to stop on a late failure.
    :param terminal: shows the operator how to log in, or why the start failed.
    """

    def __init__(self, plan: Plan, reactor: Any, terminal: Terminal) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.plan = plan
        self._reactor = reactor
        self._terminal = terminal
        self._begun = False
        self._started = False
        self._toAnnounce: list[tuple[str, IAddress]] = []
        self._open = 0
        if plan.portal is not None:
            self.portal = plan.portal
        else:
            self.portal = Portal(plan.realm, ())
            self.check(plan.checkers)
        self.factory = ServerFactory(self.portal, clock=reactor, profile=plan.profile, allow=plan.allow)
        # Suppress "Starting factory <...>": pbkit logs a line per listener itself.
        self.factory.noisy = False
        for description, endpoint in plan.listen:
            listener = Listener(description, endpoint, self.factory, self._opened, self._failedLater)
            self.addService(listener)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """
        Open all listeners.

        :raises StartFailed: one of them failed; the others are closed again.
        """
        self._allOrNone(super().privilegedStartService)

    def startService(self) -> None:
        """
        Open the listeners that are not open yet.

        :raises StartFailed: one of them failed; the others are closed again.
        """
        self._allOrNone(super().startService)

    def stopService(self) -> Deferred[None]:
        """
        Stop the server.

        :return: a Deferred that fires when every session has ended and its client has been told.
        """
        return Deferred.fromCoroutine(self._stop())

    def check(self, checkers: Sequence[ICredentialsChecker]) -> None:
        """Replace the checkers, for all logins from now on."""
        self.portal.checkers = {}
        for checker in checkers if len(checkers) < 2 else (AnyOf(checkers),):
            self.portal.registerChecker(checker)

    async def relisten(self, listen: Sequence[tuple[str, IStreamServerEndpoint]]) -> tuple[list[str], list[str]]:
        """
        Replace the listeners of the running server. Listeners in both sets stay open, and existing connections stay.

        :return: the descriptions of the listeners opened, and of those closed.
        :raises Exception: a listener failed; the others are as before.
        """
        removed = [child for child in self if isinstance(child, Listener)]
        opened: list[Listener] = []
        try:
            for description, endpoint in listen:
                kept = next((child for child in removed if child.description == description), None)
                if kept is not None:
                    removed.remove(kept)
                else:
                    opened.append(Listener(description, endpoint, self.factory, _logOpened, _logFailed))
                    self.addService(opened[-1])  # type: ignore[no-untyped-call]
        except Exception:
            await self._closeSome(opened)
            raise
        await self._closeSome(removed)
        return [one.description for one in opened], [one.description for one in removed]

    async def _closeSome(self, listeners: Sequence[Listener]) -> None:
        for listener in listeners:
            await maybeDeferred(self.removeService, listener).addErrback(_logCloseFailed)

    def _allOrNone(self, start: Callable[[], object]) -> None:
        if not self._begun:
            self._begun = True
            name, parameters = describeRealm(self.plan.realm)
            log.info(
                "pbkit {version} starting: realm {realm} {parameters}, avatar {avatar}, "
                "profile {profile}, codec: {codec}",
                version=__version__,
                realm=name,
                parameters=parameters,
                avatar=_avatarName(self.plan.realm),
                profile=self.factory.profile.name,
                codec="compiled" if compiled else "pure Python",
            )
            for warning in self.plan.warnings:
                log.warn("{finding}", finding=warning)
        try:
            start()
        except Exception as e:
            reason = reasonOf(e)
            log.critical("pbkit could not start: {reason}", reason=reason)
            self._terminal.complain(f"pbkit could not start: {reason}")
            self._terminal.close()
            self._closeAll()
            raise StartFailed(reason) from None
        self._started = True
        self._announce()

    def _closeAll(self) -> None:
        for child in self:
            maybeDeferred(child.stopService).addErrback(_logCloseFailed)
        # Ports close in the next iteration of the reactor. If it is not running yet, it never will, because the process
        # is about to exit; without an iteration a Unix socket would stay behind as a file.
        if not getattr(self._reactor, "running", True):
            self._reactor.iterate()

    def _opened(self, description: str, address: IAddress) -> None:
        _logOpened(description, address)
        self._toAnnounce.append((description, address))
        if self._started:
            self._announce()

    def _announce(self) -> None:
        """Show how to log in, for the listeners that were not announced yet."""
        listeners, self._toAnnounce = self._toAnnounce, []
        if self.plan.announced and listeners:
            avatarClass = getattr(self.plan.realm, "avatarClass", None)
            method = "greet" if hasattr(avatarClass, "perspective_greet") else "METHOD"
            for line in announce.announcement(self.plan.guest, method, listeners):
                self._terminal.say(line)
        self._open += len(listeners)
        if self._open == len(self.plan.listen):
            self._terminal.close()

    def _failedLater(self, failure: Failure) -> None:
        """Stop the reactor: a server with a missing listener is not the server that was configured."""
        log.critical("pbkit could not start: {reason}", reason=reasonOf(failure.value or Exception()))
        self._reactor.callWhenRunning(self._reactor.stop)

    async def _stop(self) -> None:
        await maybeDeferred(super().stopService)
        realm = self.plan.realm
        if not isinstance(realm, Realm):
            log.info("pbkit stopped")
            return
        # First end the sessions, each when its calls are answered. The rest of the grace is for their hooks.
        grace = self.plan.config.grace
        until = self._reactor.seconds() + grace
        if grace:
            await realm.drain(grace * DRAIN_SHARE, Shutdown)
        await realm.close(max(0.0, until - self._reactor.seconds()))
        counters = [one.counters for one in (realm, realm.anonymous) if one is not None]
        log.info(
            "pbkit stopped: {logins} logins, {refusals} refused; sessions ended: {ends}",
            logins=sum(one.logins for one in counters),
            refusals=sum(sum(one.refusals.values()) for one in counters),
            ends=dict(sum((one.ends for one in counters), Counter())),
        )


def _avatarName(realm: object) -> str:
    avatarClass = getattr(realm, "avatarClass", None)
    return "built by the realm" if avatarClass is None else qual(avatarClass)


def _logOpened(description: str, address: IAddress) -> None:
    log.info("listening on {address} ({description})", address=address, description=description)


def _logFailed(failure: Failure) -> None:
    log.error("listener not opened: {reason}", reason=reasonOf(failure.value or Exception()))


def _logCloseFailed(failure: Failure) -> None:
    log.failure("listener not closed", failure)


def reasonOf(error: BaseException) -> str:
    """Return why an endpoint could not listen and what to do, for people."""
    if not isinstance(error, CannotListenError):
        return f"cannot listen: {error}"
    reason: object = error.socketError
    text = getattr(reason, "strerror", None) or reason
    where = error.port if isinstance(error.port, str) else f"{error.interface or '*'}:{error.port}"
    return f"cannot listen on {where}: {text}{_advice(reason, isinstance(error.port, str))}"


def _advice(reason: object, isPath: bool) -> str:
    number = reason.errno if isinstance(reason, OSError) else None
    if number == errno.EADDRINUSE:
        if isPath:
            return "; another process uses it, or has left it behind: stop that process, or remove the file"
        return "; another process uses it: stop that process, or choose another port"
    if number == errno.EACCES:
        return "; the directory must be writable" if isPath else "; ports below 1024 need root privileges"
    if number == errno.EADDRNOTAVAIL or isinstance(reason, socket.gaierror):
        return "; interface= must be an address of this machine"
    return ""

"""
From a description to a running server: the place that wires.

`pbkit.serving.plan` decides and checks everything and opens nothing; `Server` opens what was decided, all of it or
none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.application.service import MultiService, Service
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import qual

from pbkit import __version__
from pbkit.auth import AnyOf
from pbkit.errors import Shutdown
from pbkit.server import ServerFactory
from pbkit.serving import announce
from pbkit.serving.plan import Plan, prepare
from pbkit.serving.resolve import describe
from pbkit.sessions.realm import Realm
from pbkit.wire.codec import compiled

__all__ = ["Listener", "Plan", "Server", "StartFailed", "Terminal", "prepare"]

#: How much of the grace is for clients and their running calls. What is left is for connections that have to be cut
#: off, and for `detached` hooks.
DRAINING = 0.8

log = Logger()


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

    Starting it opens all of them, or none and raises. Stopping it closes them, then drains the realm: tells every
    client goodbye, lets running calls be answered, ends every session and waits for the `detached` hooks, all within
    the plan's grace.

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
        if plan.portal is not None:
            self.portal = plan.portal
        else:
            self.portal = Portal(plan.realm, ())
            self.check(plan.checkers)
        self.factory = ServerFactory(self.portal, clock=reactor, profile=plan.profile, allow=plan.allow)
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

    def check(self, checkers: Sequence[Any]) -> None:
        """
        Have all log-ins from now on checked by these, and by no others.
        """
        self.portal.checkers = {}
        for checker in checkers if len(checkers) < 2 else (AnyOf(checkers),):
            self.portal.registerChecker(checker)

    async def relisten(self, listen: Sequence[tuple[str, IStreamServerEndpoint]]) -> tuple[list[str], list[str]]:
        """
        While it runs, listen at these places and at no others. One that is open stays open, and connections that came
        in by one that is closed go on.

        :return: descriptions, of those that were opened and of those that were closed.
        :raises Exception: what the first that could not be opened failed with; all is as it was, then.
        """
        gone = [child for child in self if isinstance(child, Listener)]
        opened: list[Listener] = []
        try:
            for description, endpoint in listen:
                kept = next((child for child in gone if child.description == description), None)
                if kept is not None:
                    gone.remove(kept)
                else:
                    opened.append(Listener(description, endpoint, self.factory, _listening, _openedNot))
                    self.addService(opened[-1])  # type: ignore[no-untyped-call]
        except Exception:
            await self._closeSome(opened)
            raise
        await self._closeSome(gone)
        return [one.description for one in opened], [one.description for one in gone]

    async def _closeSome(self, listeners: Sequence[Listener]) -> None:
        for listener in listeners:
            await maybeDeferred(self.removeService, listener).addErrback(_logged)

    def _allOrNone(self, start: Callable[[], object]) -> None:
        if not self._begun:
            self._begun = True
            name, parameters = describe(self.plan.realm)
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
            maybeDeferred(child.stopService).addErrback(_logged)
        # Ports close in the next turn of the reactor, and if it does not run yet it never will: the process
        # is about to end. Without that turn a Unix socket would stay behind as a file.
        if not getattr(self._reactor, "running", True):
            self._reactor.iterate()

    def _opened(self, description: str, address: Any) -> None:
        _listening(description, address)
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
        log.critical("pbkit could not start: {reason}", reason=reasonOf(failure.value or Exception()))
        self._reactor.callWhenRunning(self._reactor.stop)

    async def _stop(self) -> None:
        await maybeDeferred(super().stopService)
        realm = self.plan.realm
        if not isinstance(realm, Realm):
            log.info("pbkit stopped")
            return
        # First those who are in are let go, each when its calls are answered; the rest of the time is for their hooks.
        grace = self.plan.config.grace
        until = self._reactor.seconds() + grace
        if grace:
            await realm.drain(grace * DRAINING, Shutdown)
        await realm.close(max(0.0, until - self._reactor.seconds()))
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


def _listening(description: str, address: Any) -> None:
    log.info("listening on {address} ({description})", address=address, description=description)


def _openedNot(failure: Failure) -> None:
    log.error(
        "a listener of the configuration could not be opened: {reason}", reason=reasonOf(failure.value or Exception())
    )


def _logged(failure: Failure) -> None:
    log.failure("closing a listener failed", failure)


def reasonOf(error: BaseException) -> str:
    """
    :return: for people, why an endpoint could not listen.
    """
    if isinstance(error, CannotListenError):
        text = getattr(error.socketError, "strerror", None) or error.socketError
        where = error.port if isinstance(error.port, str) else f"{error.interface or '*'}:{error.port}"
        return f"cannot listen on {where}: {text}"
    return f"cannot listen: {error}"

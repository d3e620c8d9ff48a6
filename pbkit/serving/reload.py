"""
Where the settings come from, and how changes take effect when the file is reloaded while the server runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, TypeAlias

from twisted.application.service import Service
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from pbkit.config.descriptions import isLoopbackOnly
from pbkit.config.file import FileSettings, combine, parseFile
from pbkit.config.values import ALL_SESSIONS, Problems, ServerConfig, nearest
from pbkit.errors import ConfigError
from pbkit.serving.plan import Plan, prepare
from pbkit.serving.resolve import findRealm
from pbkit.serving.service import Server, reasonOf
from pbkit.sessions.parameters import parametersOf
from pbkit.sessions.realm import Realm

log = Logger()

SignalHandler: TypeAlias = Callable[[int, FrameType | None], object] | int | signal.Handlers


@dataclass(frozen=True)
class Source:
    """
    The configuration file and the flags, which can be read repeatedly.

    :ivar file: the file name as given, or None.
    :ivar flags: the given flags, by the names of `pbkit.config.values.SETTINGS`.
    :ivar directory: the base of relative paths, including those in the file: twistd may change its directory later.
    """

    file: str | None
    flags: Mapping[str, object] = field(repr=False)
    directory: str

    def read(self, reactor: object, running: Plan | None = None) -> Plan:
        """
        Read the file and return the plan of the server.

        :param running: the plan of the running server, on reload. Its realm is kept if the settings still name it.
        :raises ConfigError: the settings have errors; the text has one line for each.
        """
        problems = Problems()
        with contextlib.ExitStack() as stack:
            try:
                # Change the directory only if necessary: other threads of the program see the change.
                if os.getcwd() != self.directory:
                    stack.enter_context(contextlib.chdir(self.directory))
            except OSError as e:
                raise ConfigError(f"cannot enter the start directory {self.directory}: {e.strerror}") from None
            file = FileSettings() if self.file is None else parseFile(_text(self.file), self.file, problems)
            config = combine(file, self.flags, problems)
            realm = None
            if (
                running is not None
                and _served(config) == _served(running.config)
                and config.avatar == running.config.avatar
            ):
                realm = running.realm
            return prepare(config, reactor, problems, realm)


def _text(file: str) -> str:
    try:
        with open(file, "rb") as f:
            content = f.read()
    except FileNotFoundError:
        directory, name = os.path.split(file)
        near = ""
        with contextlib.suppress(OSError):
            near = nearest(name, os.listdir(directory or "."))
        raise ConfigError(f"cannot read config {file}: no such file{near}") from None
    except (OSError, ValueError) as e:
        raise ConfigError(f"cannot read config {file}: {getattr(e, 'strerror', None) or e}") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        raise ConfigError(f"{file}:{line}: invalid UTF-8: save the file as UTF-8") from None


class Reload(Service):
    """
    Reloads the configuration on SIGHUP, and applies the settings that can change while the server runs.

    If the configuration has errors, or a new listener cannot be opened, the current settings stay. A reload ends no
    session and closes no connection, except with ``enforce = "everybody"``, which ends sessions above the new limits.

    :param server: the running server.
    :param source: the file and the flags.
    :param reactor: runs the reload outside of the signal handler.
    """

    def __init__(self, server: Server, source: Source, reactor: IReactorFromThreads) -> None:
        self._server = server
        self._source = source
        self._reactor = reactor
        self._previousHandler: SignalHandler | None = None
        self._reloading: Deferred[None] | None = None

    def startService(self) -> None:
        """Install the signal handler."""
        super().startService()  # type: ignore[no-untyped-call]
        # The reactor does not handle this signal itself.
        previous = signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        self._previousHandler = signal.SIG_DFL if previous is None else previous

    def stopService(self) -> None:
        """Restore the previous signal handler."""
        super().stopService()  # type: ignore[no-untyped-call]
        previous, self._previousHandler = self._previousHandler, None
        # None if the service was never started, because the port of another service was in use.
        if previous is not None:
            signal.signal(signal.SIGHUP, previous)

    def reload(self) -> Deferred[None]:
        """
        Reload the configuration.

        :return: a Deferred that fires when all changes are applied, or none. It never fails.
        """
        if self._reloading is not None:
            # The reload in progress may have read the file before its last change, so reload once more after it.
            done: Deferred[None] = Deferred()
            self._reloading.addCallback(lambda _: self.reload().addCallback(done.callback))
            return done
        self._reloading = reloading = Deferred[None]()
        copy: Deferred[None] = Deferred()

        def finish(result: object) -> None:
            if isinstance(result, Failure):
                log.failure("configuration not reloaded, unexpected exception; keeping the current settings", result)
            self._reloading = None
            reloading.callback(None)
            copy.callback(None)

        Deferred.fromCoroutine(self._reload()).addBoth(finish)
        return copy

    async def _reload(self) -> None:
        if not self.running:
            return
        running = self._server.plan
        try:
            plan = self._source.read(self._reactor, running)
        except ConfigError as e:
            problems = str(e).splitlines()
            for problem in problems:
                log.error("configuration error: {problem}", problem=problem)
            log.error(
                "configuration not reloaded, {errors}; keeping the current settings",
                errors="1 error" if len(problems) == 1 else f"{len(problems)} errors",
            )
            return
        try:
            changed, fixed = await self._apply(plan, running)
        except Exception as e:
            log.error("configuration not reloaded, {reason}; keeping the current settings", reason=reasonOf(e))
            return
        for text in plan.warnings:
            if text not in running.warnings:
                log.warn("{finding}", finding=text)
        for text in fixed:
            log.warn("configuration change needs a restart: {what}", what=text)
        log.info(
            "configuration {file} reloaded: {changes}",
            file=self._source.file,
            changes=", ".join(changed) or "no changes",
        )

    async def _apply(self, plan: Plan, running: Plan) -> tuple[list[str], list[str]]:
        """
        Apply the settings that can change while the server runs: all of them, or none.

        :return: what was changed, and what differs but needs a restart.
        """
        old, new = running.config, plan.config
        changes = _Changes(plan, running)
        wanted, before, checks, listen = changes.wanted, changes.before, changes.checks, changes.listen
        changed = [f"realm.{name} {before[name]!r} -> {value!r}" for name, value in wanted.items()]
        _reconfigure(running.realm, wanted)
        if checks:
            # Change the checkers before opening a new listener, which may be reachable by users that the old checkers
            # were not meant for.
            self._server.check(plan.checkers)
        try:
            opened, closed = await self._server.relisten(listen)
        except Exception:
            if checks:
                self._server.check(running.checkers)
            _reconfigure(running.realm, before)
            raise
        changed += [f"listening on {text}" for text in opened] + [f"no longer listening on {text}" for text in closed]
        if checks:
            changed.append(f"auth: checkers replaced ({len(plan.checkers)} now)")
        if new.grace != old.grace:
            changed.append(f"grace {old.grace} -> {new.grace}")
        if new.enforce == ALL_SESSIONS and isinstance(running.realm, Realm):
            # Enforce the limits last: ended sessions could not be restored if, for example, a listener failed to open.
            changed += _enforceLimits(running.realm)
        kept = replace(
            new,
            realm=new.realm if _served(new) == _served(old) else old.realm,
            avatar=old.avatar,
            portal=old.portal,
            listen=tuple(text for text, _ in listen),
            profile=old.profile,
            allow=old.allow,
            gc=old.gc,
            profileFields=old.profileFields,
            auth=new.auth if checks else old.auth,
        )
        checkers = plan.checkers if checks else running.checkers
        self._server.plan = replace(running, checkers=checkers, listen=listen, config=kept, warnings=plan.warnings)
        return changed, changes.fixed


class _Changes:
    """
    The differences between two plans.

    :param plan: the new plan.
    :param running: the plan of the running server.
    :ivar fixed: descriptions of the changes that need a restart.
    :ivar wanted: the new values of realm parameters that can change now.
    :ivar before: their current values.
    :ivar checks: True if the checkers change.
    :ivar listen: where to listen.
    """

    def __init__(self, plan: Plan, running: Plan) -> None:
        old, new = running.config, plan.config
        self.fixed: list[str] = []
        self.wanted: dict[str, object] = {}
        self.before: dict[str, object] = {}
        self.checks = new.auth != old.auth and bool(new.auth) and _served(new) == _served(old)
        self.listen = plan.listen
        if _served(new) != _served(old):
            self.fixed.append(f"{_served(old)} -> {_served(new)}")
        if new.avatar != old.avatar:
            self.fixed.append(f"avatar {old.avatar} -> {new.avatar}")
        if plan.profile != running.profile:
            self.fixed.append(f"profile {_profileText(old)} -> {_profileText(new)}")
        if new.allow != old.allow:
            self.fixed.append(f"allow {', '.join(old.allow) or 'none'} -> {', '.join(new.allow) or 'none'}")
        if new.gc != old.gc:
            self.fixed.append(f"gc {old.gc} -> {new.gc}")
        if plan.realm is running.realm and new.portal is None:
            self._compareParameters(plan, running)
        if new.auth != old.auth and _served(new) != _served(old):
            self.fixed.append("auth, because it belongs to the realm")
        elif old.auth and not new.auth:
            self.fixed.append("auth: no checker is left, and the guest's password is only shown at the start")
        if not (self.checks or old.auth or old.portal or all(map(isLoopbackOnly, new.listen))):
            # The listeners were checked together with checkers that are not applied. A guest may only log in from this
            # machine.
            self.fixed.append("listen, because it depends on auth")
            self.listen = running.listen

    def _compareParameters(self, plan: Plan, running: Plan) -> None:
        realm = running.realm
        if not isinstance(realm, Realm):
            return
        for name, value in _parameters(plan).items():
            was = getattr(realm, name)
            if was != value and name in realm.fixed:
                self.fixed.append(f"realm.{name} {was!r} -> {value!r}")
            elif was != value:
                self.wanted[name], self.before[name] = value, was


def _served(config: ServerConfig) -> str:
    """Return the realm that is served, or the portal that has it."""
    return f"realm {config.realm.name}" if config.portal is None else f"portal {config.portal}"


def _enforceLimits(realm: Realm) -> list[str]:
    try:
        ended = realm.enforce()
    except Exception:
        log.failure("limits not enforced: the admission policy raised; no session was ended")
        return []
    return [f"sessions ended by the new limits: {len(ended)}"] if ended else []


def _profileText(config: ServerConfig) -> str:
    return f"{config.profile} {dict(config.profileFields)}" if config.profileFields else config.profile


def _reconfigure(realm: IRealm, parameters: Mapping[str, Any]) -> None:
    if parameters:
        assert isinstance(realm, Realm)
        realm.reconfigure(**parameters)


def _parameters(plan: Plan) -> Mapping[str, object]:
    """Return the value of each realm parameter: as set, else the default."""
    found = findRealm(plan.config.realm.name)
    if not (isinstance(found, type) and issubclass(found, Realm)):
        return {}
    return {**{name: one.default for name, one in parametersOf(found).items()}, **plan.parameters}

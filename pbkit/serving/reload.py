"""
Where a configuration comes from, and what becomes of it when it is read again while the server runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from pbkit.config.file import FileSettings, combine, parseFile
from pbkit.config.values import EVERYBODY, Problems, ServerConfig, loopbackOnly, nearest
from pbkit.errors import ConfigError
from pbkit.serving.plan import Plan, prepare
from pbkit.serving.resolve import findRealm
from pbkit.serving.service import Server, reasonOf
from pbkit.sessions.parameters import parametersOf
from pbkit.sessions.realm import Realm

log = Logger()


@dataclass(frozen=True)
class Source:
    """
    A file and flags, to be read as often as one likes.

    :ivar file: its name, as it was given, or None.
    :ivar flags: what was given, by the names of `pbkit.config.values.SETTINGS`.
    :ivar directory: where all relative paths start, those within the file as well: twistd may go elsewhere later.
    """

    file: str | None
    flags: Mapping[str, Any] = field(repr=False)
    directory: str

    def read(self, reactor: Any, running: Plan | None = None) -> Plan:
        """
        Decide what they mean by now.

        :param running: what is served, if anything is: its realm is not made again if it still is the one asked for.
        :raises ConfigError: all that is wrong, each on a line.
        """
        problems = Problems()
        with contextlib.ExitStack() as stack:
            try:
                # Only if need be: a thread of somebody else's would see it.
                if os.getcwd() != self.directory:
                    stack.enter_context(contextlib.chdir(self.directory))
            except OSError as e:
                raise ConfigError(f"{self.directory}, where the server was started: {e.strerror}") from None
            file = FileSettings() if self.file is None else parseFile(_text(self.file), self.file, problems)
            config = combine(file, self.flags, problems)
            realm = None
            if running is not None and _who(config) == _who(running.config) and config.avatar == running.config.avatar:
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
        raise ConfigError(f"config {file}: there is no such file{near}") from None
    except (OSError, ValueError) as e:
        raise ConfigError(f"config {file}: cannot be read: {getattr(e, 'strerror', None) or e}") from None
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as e:
        line = content.count(b"\n", 0, e.start) + 1
        raise ConfigError(f"{file}:{line}: not UTF-8: save the file in that encoding") from None


class Reload(Service):
    """
    Reads the configuration again on SIGHUP, and applies what can change while the server runs.

    If anything in it is wrong, or a new listener cannot be opened, all stays as it was. No session is ended by it, and
    no connection closed; unless its limits are for everybody, when those go who are too many.

    :param server: what it changes.
    :param source: what it reads.
    :param reactor: runs the reading, outside of the signal's handler.
    """

    def __init__(self, server: Server, source: Source, reactor: Any) -> None:
        self._server = server
        self._source = source
        self._reactor = reactor
        self._before: Any = None
        self._at: Deferred[None] | None = None

    def startService(self) -> None:
        """Listen for the signal."""
        super().startService()  # type: ignore[no-untyped-call]
        # Not a method of the reactor's: it leaves this signal alone.
        before = signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self.reload))
        self._before = signal.SIG_DFL if before is None else before

    def stopService(self) -> None:
        """Leave the signal to whoever had it before."""
        super().stopService()  # type: ignore[no-untyped-call]
        before, self._before = self._before, None
        # None: it was never started, as when the port of another service was taken.
        if before is not None:
            signal.signal(signal.SIGHUP, before)

    def reload(self) -> Deferred[None]:
        """
        Read it again.

        :return: a Deferred that fires when all is applied, or nothing; it never fails.
        """
        if self._at is not None:
            # One is at work, and may have read the file before it was written: this one comes after.
            done: Deferred[None] = Deferred()
            self._at.addCallback(lambda _: self.reload().addCallback(done.callback))
            return done
        self._at = at = Deferred[None]()
        copy: Deferred[None] = Deferred()

        def finish(result: Any) -> None:
            if result is not None:
                log.failure("reading the configuration again broke; the server goes on as it was", result)
            self._at = None
            at.callback(None)
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
                log.error("configuration: {problem}", problem=problem)
            log.error("configuration not applied, {count} wrong: the server goes on as it was", count=len(problems))
            return
        try:
            changed, fixed = await self._apply(plan, running)
        except Exception as e:
            log.error("configuration not applied, {reason}: the server goes on as it was", reason=reasonOf(e))
            return
        for text in fixed:
            log.warn("configuration: {what}: takes effect only after a restart", what=text)
        told = ", ".join(changed) or "nothing changed"
        log.info("configuration {file} read again: {changes}", file=self._source.file, changes=told)

    async def _apply(self, plan: Plan, running: Plan) -> tuple[list[str], list[str]]:
        """
        :return: what was changed, and what is otherwise but cannot be changed now.
        """
        old, new = running.config, plan.config
        different = _Different(plan, running)
        wanted, before, checks, listen = different.wanted, different.before, different.checks, different.listen
        changed = [f"realm.{name} {before[name]!r} -> {value!r}" for name, value in wanted.items()]
        if wanted:
            running.realm.reconfigure(**wanted)
        if checks:
            # Before a new listener is there: it may be open to more people than the old checkers were meant for.
            self._server.check(plan.checkers)
        try:
            opened, closed = await self._server.relisten(listen)
        except Exception:
            if checks:
                self._server.check(running.checkers)
            if before:
                running.realm.reconfigure(**before)
            raise
        changed += [f"listening on {text}" for text in opened] + [f"no longer listening on {text}" for text in closed]
        if checks:
            changed.append(f"auth: other checkers, {len(plan.checkers)} of them")
        if new.grace != old.grace:
            changed.append(f"grace {old.grace} -> {new.grace}")
        if new.enforce == EVERYBODY and isinstance(running.realm, Realm):
            # Last of all: whoever is thrown out cannot be put back, if a listener could not be opened, say.
            changed += _enforced(running.realm)
        kept = replace(
            new,
            realm=new.realm if _who(new) == _who(old) else old.realm,
            avatar=old.avatar,
            portal=old.portal,
            listen=tuple(text for text, _ in listen),
            profile=old.profile,
            allow=old.allow,
            bounds=old.bounds,
            auth=new.auth if checks else old.auth,
        )
        checkers = plan.checkers if checks else running.checkers
        self._server.plan = replace(running, checkers=checkers, listen=listen, config=kept)
        return changed, different.fixed


class _Different:
    """
    In what two plans differ.

    :param plan: the new one.
    :param running: what is served.
    :ivar fixed: what cannot be changed now, in words.
    :ivar wanted: parameters of the realm that can, and what they are to be.
    :ivar before: what these are.
    :ivar checks: whether there are other checkers.
    :ivar listen: where to listen.
    """

    def __init__(self, plan: Plan, running: Plan) -> None:
        old, new = running.config, plan.config
        self.fixed: list[str] = []
        self.wanted: dict[str, Any] = {}
        self.before: dict[str, Any] = {}
        self.checks = new.auth != old.auth and bool(new.auth) and _who(new) == _who(old)
        self.listen = plan.listen
        if _who(new) != _who(old):
            self.fixed.append(f"{_who(old)} -> {_who(new)}")
        if new.avatar != old.avatar:
            self.fixed.append(f"avatar {old.avatar} -> {new.avatar}")
        if plan.profile != running.profile:
            self.fixed.append(f"profile {_told(old.profile, old.bounds)} -> {_told(new.profile, new.bounds)}")
        if new.allow != old.allow:
            self.fixed.append(f"allow {', '.join(old.allow) or 'none'} -> {', '.join(new.allow) or 'none'}")
        if plan.realm is running.realm and new.portal is None:
            self._compareParameters(plan, running)
        if new.auth != old.auth and _who(new) != _who(old):
            self.fixed.append("auth, which goes with the realm")
        elif old.auth and not new.auth:
            text = "auth: no checker is left, and a server without one tells its guest's password at its start"
            self.fixed.append(text)
        if not (self.checks or old.auth or old.portal or all(map(loopbackOnly, new.listen))):
            # They were found to be right for checkers that are not applied: a guest is for this machine only.
            self.fixed.append("listen, which goes with auth")
            self.listen = running.listen

    def _compareParameters(self, plan: Plan, running: Plan) -> None:
        for name, value in _parameters(plan).items():
            was = getattr(running.realm, name)
            if was != value and name in running.realm.fixed:
                self.fixed.append(f"realm.{name} {was!r} -> {value!r}")
            elif was != value:
                self.wanted[name], self.before[name] = value, was


def _who(config: ServerConfig) -> str:
    """What says who may log in to what: the realm, unless a portal has one."""
    return f"realm {config.realm.name}" if config.portal is None else f"portal {config.portal}"


def _enforced(realm: Realm) -> list[str]:
    try:
        gone = realm.enforce()
    except Exception:
        log.failure("the limits could not be enforced: a policy raised; nobody was ended")
        return []
    return [f"sessions ended by the limits: {len(gone)}"] if gone else []


def _told(profile: str, bounds: Mapping[str, Any]) -> str:
    return f"{profile} {dict(bounds)}" if bounds else profile


def _parameters(plan: Plan) -> Mapping[str, Any]:
    """What the parameters of a realm are to be: those that are not given, as they are by default."""
    found = findRealm(plan.config.realm.name)
    if not (isinstance(found, type) and issubclass(found, Realm)):
        return {}
    return {**{name: one.default for name, one in parametersOf(found).items()}, **plan.parameters}

"""
``twistd pbkit`` and ``twist pbkit``: the options, and the service that they describe.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

from twisted.copyright import version as twistedVersion
from twisted.cred.credentials import IAnonymous, IUsernameHashedPassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.python import usage
from twisted.spread.pb import IUsernameMD5Password

from pbkit import __version__
from pbkit.config.values import DEFAULT_GRACE, DEFAULT_PROFILE, DEFAULT_REALM, GC_FREEZE, NEW_SESSIONS, SETTINGS
from pbkit.errors import ConfigError
from pbkit.serving.collection import Collection
from pbkit.serving.plan import Plan
from pbkit.serving.reload import Reload, Source
from pbkit.serving.resolve import realmLines
from pbkit.serving.service import Server
from pbkit.serving.showconfig import asToml

#: The settings that are not repeatable.
_SINGLE = [setting for setting in SETTINGS if setting.kind is not tuple]

#: The defaults, for --help.
_DEFAULTS = {
    "realm": DEFAULT_REALM,
    "avatar": "the realm's own, or a demo with greet and echo",
    "portal": "created from realm and auth",
    "profile": DEFAULT_PROFILE,
    "grace": DEFAULT_GRACE,
    "enforce": NEW_SESSIONS,
    "gc": GC_FREEZE,
}


class InvalidSettings(usage.UsageError):
    """The settings have errors. The text has one line for each."""


class Options(usage.Options, AuthOptionMixin):
    """
    The options of ``twistd pbkit``.

    Errors raise `UsageError` before anything is opened. As a subcommand of twistd they are printed, one line each, and
    the process exits with status 1: twistd would print all options first.

    :ivar plan: the plan of the server, after parsing.
    :ivar source: the file and the flags, to reload them later.
    """

    synopsis = "[--config FILE] [--realm NAME[:key=value...]] [--avatar NAME] [--auth TYPE:...] [--listen STRPORT]"
    longdesc = (
        "Serve a Perspective Broker realm, with sessions. Without --auth, the server has one user for this run "
        "(or anonymous logins, with the realm anonymous) and must listen on this machine only. "
        "For example: twistd -n pbkit --realm limited:max=2 --avatar game.Player --auth file:passwd "
        "--listen tcp:8787"
    )
    # No defaults for usage.Options: a given flag must be distinguishable from a missing one.
    optParameters = [
        ["config", "c", None, "A configuration file in TOML. Flags take precedence. Reloaded on SIGHUP."],
        *([one.name, None, None, f"{one.doc} [default: {_DEFAULTS[one.name]}]"] for one in _SINGLE),
    ]
    optFlags = [
        ["check-config", None, "Check the settings and exit: print OK, or all errors with status 1."],
        ["print-config", None, "Print the settings in force with their origins, and exit."],
    ]
    #: The credentials that PB's login produces. --help-auth lists the checkers that accept one of these.
    supportedInterfaces = (IUsernameHashedPassword, IUsernameMD5Password, IAnonymous)

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.plan: Plan | None = None
        self.source: Source | None = None
        self._listen: list[str] = []
        self._auth: list[str] = []
        self._allow: list[str] = []

    def opt_listen(self, strport: str) -> None:
        """A server endpoint: tcp:, ssl:, unix:... Repeatable. [default: tcp:8787:interface=127.0.0.1]"""
        self._listen.append(strport)

    def opt_auth(self, description: str) -> None:
        """A credentials checker: file:PATH, memory:NAME:PASSWORD, anonymous... Repeatable, tried in order."""
        self._auth.append(description)

    def opt_allow(self, name: str) -> None:
        """A Copyable or Cacheable class that clients may send, or its name. Repeatable. [default: the realm's own]"""
        self._allow.append(name)

    def opt_list_realms(self) -> None:
        """List the named realms with their parameters, types and defaults, and exit."""
        print("\n".join(realmLines()))
        raise SystemExit(0)

    def opt_version(self) -> None:
        """Print the versions of pbkit and Twisted, and exit."""
        print(f"pbkit {__version__} (Twisted {twistedVersion})")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        """
        Reject arguments that are not options.

        :raises UsageError: there is one.
        """
        if arguments:
            raise usage.UsageError(
                f"unexpected argument {arguments[0]!r}: options begin with --, as in --realm limited"
            )

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        Parse the options.

        :raises UsageError: they have errors.
        :raises SystemExit: the same, if this is a subcommand.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as e:
            if self.parent is None:
                raise
            hint = "" if isinstance(e, InvalidSettings) else " (see twistd pbkit --help)"
            for line in str(e).splitlines():
                print(f"pbkit: {line}{hint}", file=sys.stderr)
            raise SystemExit(1) from None

    def postOptions(self) -> None:
        """
        Check all settings and make the plan.

        :raises UsageError: the settings have errors.
        """
        super().postOptions()  # type: ignore[no-untyped-call]
        # Import the reactor here, because twistd's own --reactor, which has been parsed by now, chooses it.
        from twisted.internet import reactor

        # Let --realm and --avatar find modules in the current directory. Appended, so that it shadows nothing.
        here = os.getcwd()
        if here not in sys.path:
            sys.path.append(here)
        given = {one.name: self[one.name] for one in _SINGLE if self[one.name] is not None}
        several = {"listen": self._listen, "auth": self._auth, "allow": self._allow}
        given |= {name: tuple(texts) for name, texts in several.items() if texts}
        self.source = Source(self["config"], given, here)
        try:
            self.plan = self.source.read(reactor)
        except ConfigError as e:
            if self["check-config"] or self["print-config"]:
                print(e, file=sys.stderr)
                raise SystemExit(1) from None
            raise InvalidSettings(str(e)) from None
        if self["print-config"]:
            print(asToml(self.plan), end="")
            raise SystemExit(0)
        if self["check-config"]:
            for warning in self.plan.warnings:
                print(f"warning: {warning}", file=sys.stderr)
            print(f"{self['config'] or 'command line'}: OK")
            raise SystemExit(0)


class TwistdTerminal:
    """
    The operator's terminal: standard output and error as they are when this is created. Later, twistd redirects both to
    its log, and a daemon closes them.
    """

    def __init__(self) -> None:
        self._out = _SavedStream(sys.stdout)
        self._err = _SavedStream(sys.stderr)

    def say(self, text: str) -> None:
        """Show a line on standard output."""
        self._out.show(text)

    def complain(self, text: str) -> None:
        """Show a line on standard error."""
        self._err.show(text)

    def close(self) -> None:
        """Close both; idempotent."""
        self._out.close()
        self._err.close()


class _SavedStream:
    """A standard stream, kept open by a duplicate of its file descriptor if it has one."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._own: TextIO | None = None
        try:
            if stream is not None:
                stream.flush()
                self._own = os.fdopen(os.dup(stream.fileno()), "w", encoding="utf-8", errors="backslashreplace")
        except (OSError, ValueError):
            pass  # The stream has no file descriptor, like a StringIO. Use the stream itself.

    def show(self, text: str) -> None:
        stream = self._own or self._stream
        # Check for None, because print(file=None) prints to sys.stdout, which is the log by now.
        if stream is not None:
            try:
                print(text, file=stream, flush=True)
            except (OSError, ValueError):
                pass  # The reader is gone. The server must start anyway.

    def close(self) -> None:
        # Close the duplicate. Otherwise a process that reads our output to its end waits until the server exits.
        own, self._own, self._stream = self._own, None, None
        if own is not None:
            try:
                own.close()
            except OSError:
                pass


def makeService(options: Options) -> Server:
    """
    Return the service for twistd. It has not opened anything yet.

    :param options: the parsed options.
    """
    from twisted.internet import reactor

    if options.plan is None:
        options.postOptions()
    assert options.plan is not None and options.source is not None
    server = Server(options.plan, reactor, TwistdTerminal())
    if options.source.file is not None:
        Reload(server, options.source, IReactorFromThreads(reactor)).setServiceParent(server)  # type: ignore[no-untyped-call]
    if options.plan.config.gc == GC_FREEZE:
        Collection(IReactorTime(reactor)).setServiceParent(server)  # type: ignore[no-untyped-call]
    return server

"""
``twistd pbkit``: the options, and the service that they describe.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

from twisted.copyright import version as twistedVersion
from twisted.cred.credentials import IAnonymous, IUsernameHashedPassword
from twisted.cred.strcred import AuthOptionMixin
from twisted.python import usage
from twisted.spread.pb import IUsernameMD5Password

from pbkit import __version__
from pbkit.config.values import DEFAULT_GRACE, DEFAULT_PROFILE, DEFAULT_REALM, NEWCOMERS, SETTINGS
from pbkit.errors import ConfigError
from pbkit.serving.plan import Plan
from pbkit.serving.reload import Reload, Source
from pbkit.serving.resolve import realmLines
from pbkit.serving.service import Server
from pbkit.serving.showconfig import asToml

#: Those that are not repeated.
_SINGLE = [setting for setting in SETTINGS if setting.kind is not tuple]

#: What holds without a word, for --help.
_DEFAULTS = {
    "realm": DEFAULT_REALM,
    "avatar": "the realm's own, or a small demo, with greet and echo",
    "portal": "one of realm and auth",
    "profile": DEFAULT_PROFILE,
    "grace": DEFAULT_GRACE,
    "enforce": NEWCOMERS,
}


class Options(usage.Options, AuthOptionMixin):
    """
    What can be said to ``twistd pbkit``. Whatever is wrong is a `UsageError`, before anything is opened.

    :ivar plan: what was said, once it has been parsed.
    :ivar source: where that can be read again.
    """

    synopsis = "[--config FILE] [--realm NAME[:key=value...]] [--avatar NAME] [--auth TYPE:...] [--listen STRPORT]"
    longdesc = (
        "Serve a Perspective Broker realm, with sessions. Without --auth, there is one user for this run, or "
        "anonymous log-ins if that is what the realm is for, and only this machine may reach the server. "
        "For example: twistd -n pbkit --realm limited:max=2 --avatar game.Player --auth file:passwd "
        "--listen tcp:8787"
    )
    # No default is given to usage.Options: what was not said has to be told from what was.
    optParameters = [
        ["config", "c", None, "A file of settings, in TOML; flags take precedence. Read again on SIGHUP."],
        *([one.name, None, None, f"{one.doc} [default: {_DEFAULTS[one.name]}]"] for one in _SINGLE),
    ]
    optFlags = [
        ["check-config", None, "Say OK, or all that is wrong with status 1; start nothing."],
        ["print-config", None, "Show what is in force and where it comes from; start nothing."],
    ]
    #: What PB's login can make; --help-auth lists the checkers of these.
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
        """Who may log in: memory:NAME:PASSWORD, file:PATH, anonymous... Repeatable: each is asked in turn."""
        self._auth.append(description)

    def opt_allow(self, name: str) -> None:
        """A Copyable or Cacheable class that clients may send, or its name. Repeatable. [default: the realm's own]"""
        self._allow.append(name)

    def opt_list_realms(self) -> None:
        """
        List the named realms, with their parameters, types and defaults, and exit.
        """
        print("\n".join(realmLines()))
        raise SystemExit(0)

    def opt_version(self) -> None:
        """
        Display the versions of pbkit and Twisted, and exit.
        """
        print(f"pbkit {__version__} (Twisted {twistedVersion})")
        raise SystemExit(0)

    def postOptions(self) -> None:
        """
        Decide what it all means.

        :raises UsageError: something in it cannot be.
        """
        super().postOptions()  # type: ignore[no-untyped-call]
        # Not at the top: the reactor is chosen by twistd's own --reactor, which is parsed by now.
        from twisted.internet import reactor

        # Where somebody's first avatar lies. At the end of the path, so that it hides nothing.
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
            raise usage.UsageError(str(e)) from None
        if self["print-config"]:
            print(asToml(self.plan), end="")
            raise SystemExit(0)
        if self["check-config"]:
            print(f"{self['config'] or 'what was said'}: OK")
            raise SystemExit(0)


class Terminal:
    """
    Standard output and error as they are now. Once twistd has begun to log, what is printed goes into the
    log, and when it has become a daemon, nowhere.
    """

    def __init__(self) -> None:
        self._out = _Kept(sys.stdout)
        self._err = _Kept(sys.stderr)

    def say(self, text: str) -> None:
        """Show a line on standard output."""
        self._out.show(text)

    def complain(self, text: str) -> None:
        """Show a line on standard error."""
        self._err.show(text)

    def close(self) -> None:
        """Let go of both; idempotent."""
        self._out.close()
        self._err.close()


class _Kept:
    """A hold on a stream, by a file descriptor of our own where it has one."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._own: TextIO | None = None
        try:
            if stream is not None:
                stream.flush()
                self._own = os.fdopen(os.dup(stream.fileno()), "w", encoding="utf-8", errors="backslashreplace")
        except (OSError, ValueError):
            pass  # No file behind it: a StringIO, say. Then the stream itself has to do.

    def show(self, text: str) -> None:
        stream = self._own or self._stream
        # print(file=None) would print to sys.stdout, which by now is the log.
        if stream is not None:
            try:
                print(text, file=stream, flush=True)
            except (OSError, ValueError):
                pass  # Nobody reads it any more. That must not keep the server from starting.

    def close(self) -> None:
        # Whoever reads what we write until its end would otherwise wait for as long as the server runs.
        own, self._own, self._stream = self._own, None, None
        if own is not None:
            try:
                own.close()
            except OSError:
                pass


def makeService(options: Options) -> Server:
    """
    For twistd.

    :param options: parsed.
    :return: the service; nothing is open yet.
    """
    from twisted.internet import reactor

    if options.plan is None:
        options.postOptions()
    assert options.plan is not None and options.source is not None
    server = Server(options.plan, reactor, Terminal())
    if options.source.file is not None:
        Reload(server, options.source, reactor).setServiceParent(server)  # type: ignore[no-untyped-call]
    return server

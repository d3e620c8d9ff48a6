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
from pbkit.config import DEFAULT_LISTEN, DEFAULT_REALM, ServerConfig, parseRealm
from pbkit.errors import ConfigError
from pbkit.resolve import realmLines
from pbkit.service import Plan, Server, prepare


class Options(usage.Options, AuthOptionMixin):
    """
    What can be said to ``twistd pbkit``. Whatever is wrong is a `UsageError`, before anything is opened.

    :ivar plan: what was said, once it has been parsed.
    """

    synopsis = "[--realm NAME[:key=value...]] [--avatar NAME] [--auth TYPE:...] [--listen STRPORT]"
    longdesc = (
        "Serve a Perspective Broker realm, with sessions. Without --auth, there is one user for this run, or "
        "anonymous log-ins if that is what the realm is for, and only this machine may reach the server. "
        "For example: twistd -n pbkit --realm limited:max=2 --avatar game.Player --auth file:passwd "
        "--listen tcp:8787"
    )
    optParameters = [
        [
            "realm",
            None,
            DEFAULT_REALM,
            "A name from --list-realms, or the dotted path of a realm class or object.",
        ],
        [
            "avatar",
            None,
            None,
            "The dotted path of the avatar class. [default: a small demo, with greet and echo]",
        ],
    ]
    #: What PB's login can make; --help-auth lists the checkers of these.
    supportedInterfaces = (IUsernameHashedPassword, IUsernameMD5Password, IAnonymous)

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.plan: Plan | None = None
        self._listen: list[str] = []
        self._auth: list[str] = []

    def opt_listen(self, strport: str) -> None:
        """A server endpoint: tcp:, ssl:, unix:... Repeatable. [default: tcp:8787:interface=127.0.0.1]"""
        self._listen.append(strport)

    def opt_auth(self, description: str) -> None:
        """Who may log in: memory:NAME:PASSWORD, file:PATH, anonymous... Repeatable: each is asked in turn."""
        self._auth.append(description)

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
        try:
            config = ServerConfig(
                realm=parseRealm(self["realm"]),
                avatar=self["avatar"],
                listen=tuple(self._listen) or (DEFAULT_LISTEN,),
                auth=tuple(self._auth),
            )
            self.plan = prepare(config, reactor)
        except ConfigError as e:
            raise usage.UsageError(str(e)) from None


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
    assert options.plan is not None
    return Server(options.plan, reactor, Terminal())

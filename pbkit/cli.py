"""
The `pbkit` command. So far it has one word: ``pbkit call ENDPOINT METHOD [ARGUMENT...]``.

The answer goes to standard output as JSON, an error to standard error as one line, and the exit status
says what happened (`pbkit.onecall.Status`). It serves any PB server, stock ones too.
"""

from __future__ import annotations

import argparse
import getpass
import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.internet.endpoints import clientFromString
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from pbkit.onecall import CallFailed, OneCall, Status, toJson

DESCRIPTION = "Talk to a Perspective Broker server."

CALL_DESCRIPTION = """\
Log in, call one method, print the answer as JSON, log out.

An ARGUMENT is JSON where it parses as JSON, else a string: 3 is a number, '"3"' and three are strings.
What JSON does not have is marked: bytes are {"bytes": "...base64..."}, a tuple is {"tuple": [...]}.

The password is taken from the environment, PBKIT_PASSWORD, or asked for; never from the command line,
where everybody on this machine could read it.
"""

CALL_EPILOG = """\
examples:
  pbkit call tcp:localhost:8787 greet --user alice
  PBKIT_PASSWORD=sesame pbkit call tcp:localhost:8787 echo '[1, 2]' --user alice
  pbkit call unix:/run/game.sock whoami --anonymous
  pbkit call tls:example.org:8787 move -3 --user alice --timeout 5

exit status:
  0 answered    2 wrong usage    3 not reached, or the connection was lost    4 login refused
  5 the method failed    6 no answer in time    130 interrupted
"""


class _Parser(argparse.ArgumentParser):
    """One line for an error, as for all the others; argparse would print the whole usage first."""

    def error(self, message: str) -> NoReturn:
        self.exit(Status.USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (0 < seconds and math.isfinite(seconds)):
        raise ValueError
    return seconds


_seconds.__name__ = "number of seconds"


def callParser() -> argparse.ArgumentParser:
    """The parser of what follows ``pbkit call``; use its `parse_intermixed_args`."""
    parser = _Parser(
        prog="pbkit call",
        description=CALL_DESCRIPTION,
        epilog=CALL_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("endpoint", metavar="ENDPOINT", help="where the server is, such as tcp:localhost:8787")
    parser.add_argument("method", metavar="METHOD", help="what to call, without perspective_")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs="*", help="JSON or a string; -- before one like -x")
    parser.add_argument("--user", metavar="NAME", help="log in as this user, with a password")
    parser.add_argument("--anonymous", action="store_true", help="log in as a guest")
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=30.0, help="for everything (default 30)")
    return parser


def _parser() -> argparse.ArgumentParser:
    from pbkit import __version__

    parser = _Parser(prog="pbkit", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"pbkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("call", help="log in, call one method, print the answer as JSON", add_help=False)
    return parser


def parseArgument(text: str) -> Any:
    """
    :return: what the text means as JSON; the text itself where it is none.
    """
    try:
        # NaN and Infinity are Python's, not JSON's.
        return json.loads(text, parse_constant=_noConstant)
    except (ValueError, RecursionError):
        return text


def _noConstant(name: str) -> NoReturn:
    raise ValueError(name)


def oneLine(text: str) -> str:
    """
    A text from elsewhere, fit for a terminal: on one line, with nothing that a terminal would obey.
    """
    text = " ".join(text.split())
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def main(argv: Sequence[str] | None = None) -> int:
    """
    The entry point of the command.

    :param argv: without the name of the command; None takes it from `sys.argv`.
    :return: the exit status.
    :raises SystemExit: with the exit status, for ``--help`` and for wrong usage.
    """
    argv = sys.argv[1:] if argv is None else argv
    if list(argv[:1]) != ["call"]:
        # --help, --version, or a line that says what is wrong; none of them comes back.
        _parser().parse_args(argv)
    parser = callParser()
    options = parser.parse_intermixed_args(argv[1:])
    if (options.user is not None) == options.anonymous:
        parser.error("say either --user NAME or --anonymous")
    try:
        password = None if options.anonymous else _password(parser, options.user)
    except (EOFError, KeyboardInterrupt):
        return _report(CallFailed(Status.INTERRUPTED, "interrupted"))
    return _call(parser, options, password)


def _password(parser: argparse.ArgumentParser, user: str) -> str:
    given = os.environ.get("PBKIT_PASSWORD")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        parser.error("no password: set PBKIT_PASSWORD, or run this in a terminal to be asked")
    return getpass.getpass(f"Password of {oneLine(user)}: ")


def _call(parser: argparse.ArgumentParser, options: argparse.Namespace, password: str | None) -> int:
    from twisted.internet import reactor as installed

    reactor: Any = installed
    # Nobody reads a log here, and until logging begins Twisted prints what is critical, tracebacks and all.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    try:
        endpoint = clientFromString(reactor, options.endpoint)
    except Exception as e:
        parser.error(
            f"endpoint {oneLine(options.endpoint)!r}: {oneLine(str(e))}; it is written like "
            "tcp:localhost:8787, tls:example.org:8787 or unix:/path"
        )
    credentials: Any = Anonymous()
    if password is not None:
        # fsencode: what came in as bytes, by argv or the environment, goes out as it was.
        credentials = UsernamePassword(os.fsencode(options.user), os.fsencode(password))
    call = OneCall(reactor, endpoint, credentials, options.method, [*map(parseArgument, options.arguments)])
    outcome: list[Any] = [CallFailed(Status.INTERRUPTED, "interrupted")]

    def over(result: Any) -> None:
        outcome[0] = result.value if isinstance(result, Failure) else result
        if getattr(outcome[0], "status", None) is Status.TIMED_OUT:
            # At once: a name that is still being looked up cannot be given up, and the reactor
            # would wait for the thread that does it.
            status = _report(outcome[0])
            sys.stderr.flush()
            os._exit(status)
        reactor.stop()

    reactor.callWhenRunning(lambda: call.run(options.timeout).addBoth(over))
    reactor.run()
    return _report(outcome[0])


def _report(outcome: Any) -> int:
    if isinstance(outcome, CallFailed):
        print(f"pbkit call: {oneLine(str(outcome))}", file=sys.stderr)
        return outcome.status
    if isinstance(outcome, BaseException):
        raise outcome
    print(toJson(outcome))
    return Status.ANSWERED


if __name__ == "__main__":
    sys.exit(main())

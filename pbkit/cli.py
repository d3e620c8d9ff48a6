"""
The `pbkit` command: ``pbkit call ENDPOINT METHOD [ARGUMENT...]`` and ``pbkit watch ENDPOINT``.

Answers go to standard output as JSON, an error to standard error as one line, and the exit status says what
happened (`pbkit.command.onecall.Status`). It serves any PB server, stock ones too.
"""

from __future__ import annotations

import argparse
import getpass
import math
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NoReturn

from twisted.cred.credentials import Anonymous, UsernamePassword
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import clientFromString
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from pbkit.command.asjson import oneLine, parseArgument, toJson
from pbkit.command.lines import Lines
from pbkit.command.onecall import CallFailed, Door, Status, Watcher, manyCalls, oneCall, watch
from pbkit.command.scaffold import CannotInit, makeProject

DESCRIPTION = "Talk to a Perspective Broker server."

CALL_DESCRIPTION = """\
Log in, call one method, print the answer as JSON, log out.

An ARGUMENT is JSON where it parses as JSON, else a string: 3 is a number, '"3"' and three are strings.
What JSON does not have is marked: bytes are {"bytes": "...base64..."}, a tuple is {"tuple": [...]}.

With - for METHOD, calls are read from standard input, one a line: a method and its arguments, quoted as in a
shell. Each answer is a line, that of a call which failed {"error": "..."}; blank lines and # lines are passed over.

The password is taken from the first line of --password-file, or from the environment, PBKIT_PASSWORD, or asked
for; never from the command line, where everybody on this machine could read it.
"""

EXIT = """\
exit status:
  0 %s    2 wrong usage    3 not reached, or the connection was lost    4 login refused
  %s6 no answer in time%s
"""

CALL_EPILOG = (
    """\
examples:
  pbkit call tcp:localhost:8787 greet --user alice
  PBKIT_PASSWORD=sesame pbkit call tcp:localhost:8787 echo '[1, 2]' --user alice
  pbkit call unix:/run/game.sock whoami --anonymous
  pbkit call tls:example.org:8787 move -3 --user alice --password-file secret --timeout 5
  printf 'greet\\necho "two words"\\n' | pbkit call tcp:localhost:8787 - --anonymous

"""
    + EXIT % ("answered", "5 the method failed (with -: one of them)    ", "    130 interrupted")
)

WATCH_DESCRIPTION = """\
Log in with a mind, and print whatever the server tells it, one line each: the method, then its arguments as JSON.

Ctrl-C logs out and ends it. If the server ends the session, that is told on one line.
"""

WATCH_EPILOG = (
    """\
examples:
  pbkit watch tcp:localhost:8787 --user alice
  pbkit watch unix:/run/game.sock --anonymous --json | jq .args

"""
    + EXIT % ("ended by Ctrl-C", "", "")
)


INIT_DESCRIPTION = """\
Write a small project to begin with: an avatar and a realm, their test, a configuration file, a README. Its tests
pass and its server starts. Nothing that is there already is overwritten.
"""

INIT_EPILOG = "exit status: 0 written    1 it cannot be written    2 wrong usage"


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


def _subparser(word: str, description: str, epilog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"pbkit {word}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("endpoint", metavar="ENDPOINT", help="where the server is, such as tcp:localhost:8787")
    return parser


def _who(parser: argparse.ArgumentParser, timeout: str) -> argparse.ArgumentParser:
    parser.add_argument("--user", metavar="NAME", help="log in as this user, with a password")
    parser.add_argument("--password-file", metavar="FILE", help="the password is its first line")
    parser.add_argument("--anonymous", action="store_true", help="log in as a guest")
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=30.0, help=timeout)
    return parser


def callParser() -> argparse.ArgumentParser:
    """The parser of what follows ``pbkit call``; use its `parse_intermixed_args`."""
    parser = _subparser("call", CALL_DESCRIPTION, CALL_EPILOG)
    parser.add_argument("method", metavar="METHOD", help="what to call, without perspective_; - reads standard input")
    parser.add_argument("arguments", metavar="ARGUMENT", nargs="*", help="JSON or a string; -- before one like -x")
    return _who(parser, "for everything; with - for the login and for each call (default 30)")


def watchParser() -> argparse.ArgumentParser:
    """The parser of what follows ``pbkit watch``."""
    parser = _subparser("watch", WATCH_DESCRIPTION, WATCH_EPILOG)
    parser.add_argument("--json", action="store_true", help='print {"method": ..., "args": [...], "kw": {...}}')
    return _who(parser, "for the login (default 30)")


def initParser() -> argparse.ArgumentParser:
    """The parser of what follows ``pbkit init``."""
    parser = _Parser(prog="pbkit init", description=INIT_DESCRIPTION, epilog=INIT_EPILOG, allow_abbrev=False)
    parser.add_argument("directory", metavar="DIR", help="where; made if it is not there")
    return parser


def _parser() -> argparse.ArgumentParser:
    from pbkit import __version__

    parser = _Parser(prog="pbkit", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"pbkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("call", help="log in, call one method, print the answer as JSON", add_help=False)
    commands.add_parser("watch", help="log in, print whatever the server tells", add_help=False)
    commands.add_parser("init", help="write a small project to begin with", add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    The entry point of the command.

    :param argv: without the name of the command; None takes it from `sys.argv`.
    :return: the exit status.
    :raises SystemExit: with the exit status, for ``--help`` and for wrong usage.
    """
    argv = sys.argv[1:] if argv is None else argv
    word = next(iter(argv), None)
    if word == "init":
        return _init(initParser().parse_args(argv[1:]))
    if word not in ("call", "watch"):
        # --help, --version, or a line that says what is wrong; none of them comes back.
        _parser().parse_args(argv)
    parser = callParser() if word == "call" else watchParser()
    options = parser.parse_intermixed_args(argv[1:])
    if (options.user is not None) == options.anonymous:
        parser.error("say either --user NAME or --anonymous")
    if options.anonymous and options.password_file is not None:
        parser.error("--password-file goes with --user, a guest has no password")
    if word == "call" and options.method == "-" and options.arguments:
        parser.error("with - the arguments stand on standard input, behind each method")
    try:
        password = None if options.anonymous else _password(parser, options)
    except (EOFError, KeyboardInterrupt):
        return _report(parser.prog, CallFailed(Status.INTERRUPTED, "interrupted"))
    from twisted.internet import reactor

    # Nobody reads a log here, and until logging begins Twisted prints what is critical, tracebacks and all.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    assert word is not None
    door = Door(reactor, _endpoint(parser, reactor, options.endpoint), _credentials(options, password), options.timeout)
    return _run(reactor, parser.prog, lambda: _work(door, parser.prog, word, options))


def _init(options: argparse.Namespace) -> int:
    try:
        made = makeProject(Path(options.directory))
    except CannotInit as e:
        print(f"pbkit init: {oneLine(str(e))}", file=sys.stderr)
        return 1
    for path in made:
        print(f"wrote {oneLine(str(path))}")
    print(f"\nNow, in {oneLine(options.directory)}:\n")
    print("    python -m twisted.trial test_game\n    twistd -n pbkit --config pbkit.toml")
    return 0


def _password(parser: argparse.ArgumentParser, options: argparse.Namespace) -> bytes:
    if options.password_file is not None:
        try:
            with open(options.password_file, "rb") as file:
                password = file.readline().rstrip(b"\r\n")
        except OSError as e:
            parser.error(f"password file {oneLine(options.password_file)}: {oneLine(e.strerror or str(e))}")
        if not password:
            parser.error(f"password file {oneLine(options.password_file)}: its first line is empty")
        return password
    given = os.environ.get("PBKIT_PASSWORD")
    if given is None:
        if not sys.stdin.isatty():
            parser.error(
                "no password: set PBKIT_PASSWORD, or name a --password-file, or run this in a terminal to be asked"
            )
        given = getpass.getpass(f"Password of {oneLine(options.user)}: ")
    # fsencode: what came in as bytes, by argv or the environment, goes out as it was.
    return os.fsencode(given)


def _credentials(options: argparse.Namespace, password: bytes | None) -> Any:
    return Anonymous() if password is None else UsernamePassword(os.fsencode(options.user), password)


def _endpoint(parser: argparse.ArgumentParser, reactor: Any, description: str) -> Any:
    try:
        return clientFromString(reactor, description)
    except Exception as e:
        parser.error(
            f"endpoint {oneLine(description)!r}: {oneLine(str(e))}; it is written like "
            "tcp:localhost:8787, tls:example.org:8787 or unix:/path"
        )


async def _work(door: Door, prog: str, word: str, options: argparse.Namespace) -> int:
    if word == "watch":
        mind = Watcher(_printed, options.json)
        await watch(door, mind, lambda: print(f"{prog}: logged in, Ctrl-C ends it", file=sys.stderr, flush=True))
    elif options.method == "-":
        lines = Lines(door.reactor)
        return await manyCalls(door, lines.next, _printed, lambda text: _complain(prog, text))
    else:
        _printed(toJson(await oneCall(door, options.method, [*map(parseArgument, options.arguments)])))
    return Status.ANSWERED


def _printed(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # Whoever read this has seen enough, as `head` does. Nobody is told, nor at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os._exit(128 + 13)


def _complain(prog: str, text: str) -> None:
    print(f"{prog}: {oneLine(text)}", file=sys.stderr, flush=True)


def _run(reactor: Any, prog: str, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    outcome: list[Any] = [CallFailed(Status.INTERRUPTED, "interrupted")]
    finished: Deferred[None] = Deferred()

    def over(result: Any) -> None:
        outcome[0] = result.value if isinstance(result, Failure) else result
        if getattr(outcome[0], "status", None) in (Status.TIMED_OUT, Status.INTERRUPTED):
            # At once: a name that is still being looked up cannot be given up, and the reactor
            # would wait for the thread that does it.
            status = _report(prog, outcome[0])
            sys.stdout.flush()
            os._exit(status)
        finished.callback(None)
        if reactor.running and not stopping:
            reactor.stop()

    stopping: list[bool] = []

    def stop(doing: Deferred[Any]) -> Deferred[None]:
        # By Ctrl-C, or by a signal that means the same; or all is done.
        stopping.append(True)
        if finished.called:
            return succeed(None)
        doing.cancel()
        return finished

    def start() -> None:
        doing = Deferred.fromCoroutine(work())
        reactor.addSystemEventTrigger("before", "shutdown", stop, doing)
        doing.addBoth(over)

    reactor.callWhenRunning(start)
    reactor.run()
    return _report(prog, outcome[0])


def _report(prog: str, outcome: Any) -> int:
    if isinstance(outcome, CallFailed):
        _complain(prog, str(outcome))
        return outcome.status
    if isinstance(outcome, BaseException):
        raise outcome
    return int(outcome)


if __name__ == "__main__":
    sys.exit(main())

"""
The `pbkit` command: ``pbkit call ENDPOINT METHOD [ARGUMENT...]``, ``pbkit watch ENDPOINT`` and ``pbkit init DIR``.

Answers go to standard output as JSON, errors to standard error as one line each, and the exit status is a
`pbkit.command.onecall.Status`. The command works with any PB server, including stock ones.
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
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from pbkit.command.asjson import oneLine, parseArgument, toJson
from pbkit.command.lines import LineReader
from pbkit.command.onecall import (
    CallFailed,
    Connector,
    PrintingMind,
    Status,
    callEachLine,
    callOnce,
    clientEndpoint,
    watch,
)
from pbkit.command.scaffold import CannotInit, makeProject
from pbkit.errors import ConfigError

DESCRIPTION = "Talk to a Perspective Broker server."

CALL_DESCRIPTION = """\
Log in, call one method, print the answer as JSON, log out.

An ARGUMENT that is valid JSON is sent as that value, anything else as a string: 3 is a number; three and '"3"' are
strings. Types that JSON does not have are marked in answers: bytes as {"bytes": "...base64..."}, a tuple as
{"tuple": [...]}.

If METHOD is -, each line of standard input is a call: a method and its arguments, quoted as in a shell. Each answer is
one line; a failed call prints {"error": "..."}. Blank lines and lines that begin with # are skipped.

The password is read from the first line of --password-file, else from the environment variable PBKIT_PASSWORD, else
from the terminal. It is never an option, because other users of the machine can read the command line.
"""

EXIT = """\
exit status:
  0 %s    2 usage error    3 cannot connect, or connection lost    4 login refused
  %s6 timeout%s
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
    + EXIT % ("answered", "5 method failed (with -: at least one)    ", "    130 interrupted")
)

WATCH_DESCRIPTION = """\
Log in with a mind and print each call the server makes to it on one line: the method, then its arguments as JSON.

Press Ctrl-C to log out and exit. If the server ends the session, the reason is printed.
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
Write a small project to start from: an avatar, a realm, tests, a configuration file and a README. Its tests pass and
its server starts. Existing files are never overwritten.
"""

INIT_EPILOG = "exit status: 0 written    1 cannot write    2 usage error"


class _Parser(argparse.ArgumentParser):
    """Reports a usage error on one line, like all other errors. argparse would print the whole usage first."""

    def error(self, message: str) -> NoReturn:
        # With intermixed options, argparse counts the optional ARGUMENT among the missing ones.
        message = message.replace(", ARGUMENT", "")
        if message.startswith("unrecognized arguments:"):
            if " --password" in message:
                message += "; the password is read from --password-file or from PBKIT_PASSWORD"
            else:
                message += "; put -- before an ARGUMENT that begins with -"
        self.exit(Status.USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not (0 < seconds and math.isfinite(seconds)):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected a number of seconds above 0, for example 5")
    return seconds


def _subparser(word: str, description: str, epilog: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=f"pbkit {word}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("endpoint", metavar="ENDPOINT", help="the server's endpoint, such as tcp:localhost:8787")
    return parser


def _who(parser: argparse.ArgumentParser, timeout: str) -> argparse.ArgumentParser:
    parser.add_argument("--user", metavar="NAME", help="log in as this user, with a password")
    parser.add_argument("--password-file", metavar="FILE", help="read the password from the first line of FILE")
    parser.add_argument("--anonymous", action="store_true", help="log in anonymously")
    parser.add_argument("--timeout", metavar="SECONDS", type=_seconds, default=30.0, help=timeout)
    return parser


def callParser() -> argparse.ArgumentParser:
    """Return the parser of the arguments of ``pbkit call``. Use its `parse_intermixed_args`."""
    parser = _subparser("call", CALL_DESCRIPTION, CALL_EPILOG)
    parser.add_argument(
        "method", metavar="METHOD", help="the method, without perspective_; - reads calls from standard input"
    )
    parser.add_argument(
        "arguments", metavar="ARGUMENT", nargs="*", help="JSON or a string; put -- before one such as -x"
    )
    return _who(parser, "in total; with -, for the login and for each call (default 30)")


def watchParser() -> argparse.ArgumentParser:
    """Return the parser of the arguments of ``pbkit watch``."""
    parser = _subparser("watch", WATCH_DESCRIPTION, WATCH_EPILOG)
    parser.add_argument("--json", action="store_true", help='print {"method": ..., "args": [...], "kw": {...}}')
    return _who(parser, "for the login (default 30)")


def initParser() -> argparse.ArgumentParser:
    """Return the parser of the arguments of ``pbkit init``."""
    parser = _Parser(prog="pbkit init", description=INIT_DESCRIPTION, epilog=INIT_EPILOG, allow_abbrev=False)
    parser.add_argument("directory", metavar="DIR", help="the directory; created if it does not exist")
    return parser


def _parser() -> argparse.ArgumentParser:
    from pbkit import __version__

    parser = _Parser(prog="pbkit", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"pbkit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("call", help="log in, call one method, print the answer as JSON", add_help=False)
    commands.add_parser("watch", help="log in, print the server's calls to the client", add_help=False)
    commands.add_parser("init", help="write a small project to start from", add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command.

    :param argv: the arguments without the name of the command; None takes them from `sys.argv`.
    :return: the exit status.
    :raises SystemExit: with the exit status, for ``--help`` and for a usage error.
    """
    argv = sys.argv[1:] if argv is None else argv
    word = next(iter(argv), None)
    if word is None:
        _parser().error("the command is missing, expected call, watch or init")
    if word == "init":
        return _init(initParser().parse_args(argv[1:]))
    if word not in ("call", "watch"):
        # --help, --version or a usage error: parse_args does not return.
        _parser().parse_args(argv)
    parser = callParser() if word == "call" else watchParser()
    options = parser.parse_intermixed_args(argv[1:])
    if (options.user is not None) == options.anonymous:
        parser.error("expected either --user NAME or --anonymous")
    if options.anonymous and options.password_file is not None:
        parser.error("--password-file cannot be combined with --anonymous: an anonymous login has no password")
    if word == "call" and options.method == "-" and options.arguments:
        parser.error("with METHOD -, arguments are read from standard input, after each method")
    from twisted.internet import reactor

    try:
        endpoint = clientEndpoint(reactor, options.endpoint)
        password = None if options.anonymous else _password(parser, options)
    except ConfigError as e:
        parser.error(oneLine(str(e)))
    except (EOFError, KeyboardInterrupt):
        return _report(parser.prog, CallFailed(Status.INTERRUPTED, "interrupted"))
    # Log to nowhere. Until logging begins, Twisted prints critical events, with tracebacks, to standard error.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    assert word is not None
    connector = Connector(reactor, endpoint, _credentials(options, password), options.timeout)
    return _run(reactor, parser.prog, lambda: _work(connector, parser.prog, word, options))


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
            parser.error(f"cannot read password file {oneLine(options.password_file)}: {oneLine(e.strerror or str(e))}")
        if not password:
            parser.error(f"invalid password file {oneLine(options.password_file)}: its first line is empty")
        return password
    given = os.environ.get("PBKIT_PASSWORD")
    if given is None:
        if not sys.stdin.isatty():
            parser.error(
                "no password: set PBKIT_PASSWORD, use --password-file, or run the command in a terminal to be prompted"
            )
        given = getpass.getpass(f"Password of {oneLine(options.user)}: ")
        if not given:
            parser.error("the password is empty")
    elif not given:
        parser.error("PBKIT_PASSWORD is empty: set it to the password, or unset it to be asked for the password")
    # fsencode restores the bytes of an argument or environment variable that is not valid UTF-8.
    return os.fsencode(given)


def _credentials(options: argparse.Namespace, password: bytes | None) -> Anonymous | UsernamePassword:
    return Anonymous() if password is None else UsernamePassword(os.fsencode(options.user), password)


async def _work(connector: Connector, prog: str, word: str, options: argparse.Namespace) -> int:
    if word == "watch":
        mind = PrintingMind(_print, options.json)
        await watch(
            connector, mind, lambda: print(f"{prog}: logged in, press Ctrl-C to exit", file=sys.stderr, flush=True)
        )
    elif options.method == "-":
        lines = LineReader(connector.reactor)
        return await callEachLine(connector, lines.next, _print, lambda text: _complain(prog, text))
    else:
        _print(toJson(await callOnce(connector, options.method, [*map(parseArgument, options.arguments)])))
    return Status.ANSWERED


def _print(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # The reader, such as `head`, has closed the pipe. Exit silently; os._exit also skips the flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os._exit(128 + 13)


def _complain(prog: str, text: str) -> None:
    print(f"{prog}: {oneLine(text)}", file=sys.stderr, flush=True)


def _run(reactor: Any, prog: str, work: Callable[[], Coroutine[Any, Any, int]]) -> int:
    outcome: list[object] = [CallFailed(Status.INTERRUPTED, "interrupted")]
    finished: Deferred[None] = Deferred()

    def done(result: object) -> None:
        outcome[0] = result.value if isinstance(result, Failure) else result
        if getattr(outcome[0], "status", None) in (Status.TIMED_OUT, Status.INTERRUPTED):
            # Exit at once: a name lookup cannot be cancelled, and the reactor would wait for its thread.
            status = _report(prog, outcome[0])
            sys.stdout.flush()
            os._exit(status)
        finished.callback(None)
        if reactor.running and not stopping:
            reactor.stop()

    stopping: list[bool] = []

    def stop(working: Deferred[int]) -> Deferred[None]:
        # The reactor stops: on Ctrl-C, on SIGTERM, or because the work is done.
        stopping.append(True)
        if finished.called:
            return succeed(None)
        working.cancel()
        return finished

    def start() -> None:
        working = Deferred.fromCoroutine(work())
        reactor.addSystemEventTrigger("before", "shutdown", stop, working)
        working.addBoth(done)

    reactor.callWhenRunning(start)
    reactor.run()
    return _report(prog, outcome[0])


def _report(prog: str, outcome: object) -> int:
    if isinstance(outcome, CallFailed):
        _complain(prog, str(outcome))
        return outcome.status
    if isinstance(outcome, BaseException):
        raise outcome
    assert isinstance(outcome, int)
    return outcome


if __name__ == "__main__":
    sys.exit(main())

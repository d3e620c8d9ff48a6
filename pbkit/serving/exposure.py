"""
Warnings about secrets that other users of the machine can read: in files, or on the command line.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker

from pbkit.config.descriptions import privateKeyPath
from pbkit.config.values import ServerConfig, mayHoldPassword


def exposures(config: ServerConfig, checkers: Iterable[ICredentialsChecker]) -> tuple[str, ...]:
    """
    Return one warning for each exposed secret.

    :param config: the settings.
    :param checkers: the checkers made from them.
    """
    return tuple(dict.fromkeys(_exposures(config, checkers)))


def _exposures(config: ServerConfig, checkers: Iterable[ICredentialsChecker]) -> Iterator[str]:
    for index, text in enumerate(config.auth):
        if not mayHoldPassword(text):
            continue
        origin = config.origin("server", "auth", index)
        if origin.line:
            yield from _file("configuration file", origin.source, "contains a password and ")
        elif origin.source == "--auth":
            kind = text.partition(":")[0]
            yield (
                f"--auth {kind}: every user of this machine can read a password on the command line; use --auth "
                "file:PATH, or auth in a configuration file that only the server can read"
            )
    for checker in checkers:
        if isinstance(checker, FilePasswordDB):
            yield from _file("password file", os.fsdecode(checker.filename))
    for text in config.listen:
        if (path := privateKeyPath(text)) is not None:
            yield from _file("private key", path)


def _file(what: str, path: str, why: str = "") -> Iterator[str]:
    if os.name != "posix":
        return
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return  # If it matters, the start fails with a better message.
    verbs = [verb for bit, verb in ((stat.S_IROTH, "read"), (stat.S_IWOTH, "change")) if mode & bit]
    if verbs:
        can = f"every user of this machine can {' and '.join(verbs)} it"
        yield f"{what} {path} {why}has mode {mode:04o}: {can}; use mode 0600"

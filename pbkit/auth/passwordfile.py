"""
Files of ``user:password`` lines, checked before the server starts, and read again when they change.

Stock's `FilePasswordDB` reads its file at every login. With 50,000 users that blocks the server for 8 ms, and takes
less time for users at the top of the file. If the file does not exist, may not be read or contains hashes, stock
refuses every user with "unknown user or wrong password", as if each had mistyped the password.
"""

from __future__ import annotations

import os
import re
import stat
import time
from typing import Any, TypeAlias

from twisted.cred.checkers import FilePasswordDB
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.python.failure import Failure

from pbkit.errors import ConfigError

#: How many seconds after its last change a file is read at each login: a second change in this time may leave its
#: size and its time of modification as they were. Coarse file systems keep times of 2 s.
UNSETTLED = 2.0

#: Identifies a version of a file: device, inode, size, and times of modification and of change in nanoseconds.
Version: TypeAlias = tuple[int, int, int, int, int]

#: What a stored hash looks like: crypt's ``$6$salt$hash`` and its likes, and LDAP's ``{SSHA}hash``.
_HASHED = re.compile(rb"\$[0-9A-Za-z-]+\$|\{[0-9A-Za-z-]+\}")

#: crypt(3)'s first form: two characters of salt, eleven of hash.
_OLD_CRYPT = re.compile(rb"[./0-9A-Za-z]{13}\Z")

#: What the system's own list of users has in its password field. Taken as passwords, they would let in everybody who
#: knows that.
_PLACEHOLDERS = frozenset((b"x", b"*", b"!", b"!!"))

_NEEDS_PLAINTEXT = "PB's login is a challenge that can only be checked against the password itself"


class PasswordFile(FilePasswordDB):
    """
    A `FilePasswordDB` with an index of its file, which is renewed when the file changes.

    The parameters are those of stock's. A login costs one `os.stat`, whether the user exists or not. If the file cannot
    be read the login fails with the OSError, which is logged and no refusal; stock refuses the user.
    """

    def __init__(self, filename: str, *args: Any, **kw: Any) -> None:
        super().__init__(filename, *args, **kw)  # type: ignore[no-untyped-call]
        self._index: dict[bytes, bytes] = {}
        # The version that the index was made of; None if it may have changed since without a trace.
        self._version: Version | None = None

    def getUser(self, username: bytes) -> tuple[bytes, bytes]:
        """
        Look a user up, as stock's. Of several lines for one user the first counts.

        :raises KeyError: there is no such user.
        :raises OSError: the file cannot be read.
        """
        if self._version is None or _versionOf(os.stat(self.filename)) != self._version:
            self.load()
        if not self.caseSensitive:
            username = username.lower()
        return username, self._index[username]

    def load(self) -> None:
        """
        Read the file, and make the index of it.

        :raises OSError: the file cannot be read.
        """
        with open(self.filename, "rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
        entries = _entries(self, content)
        if not self.caseSensitive:
            entries = [(user.lower(), password) for user, password in entries]
        self._index = dict(reversed(entries))
        settled = max(status.st_mtime, status.st_ctime) < time.time() - UNSETTLED
        self._version = _versionOf(status) if settled else None

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """As stock's. A user that does not exist takes as long as one that does."""
        if self.hash is not None:
            found: Deferred[Any] = maybeDeferred(super().requestAvatarId, credentials)
            return found
        user: bytes | None
        try:
            user, password = self.getUser(credentials.username)
        except KeyError:
            user, password = None, b""
        except OSError:
            return fail(Failure())
        matched: Deferred[Any] = maybeDeferred(credentials.checkPassword, password)
        return matched.addCallback(_avatarId, user)


def _avatarId(matched: bool, user: bytes | None) -> bytes:
    if not matched or user is None:
        raise UnauthorizedLogin()
    return user


def _versionOf(status: os.stat_result) -> Version:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def checkPasswordFile(db: FilePasswordDB) -> None:
    """
    Check that logins can be checked against this file.

    :param db: the checker; its file is read once, and not kept.
    :raises ConfigError: the file does not exist, cannot be read, is not a regular file, has no usable line, contains
        hashes, or has a user whose password is empty.
    """
    name = os.fsdecode(db.filename)
    content = _read(name)
    entries = _entries(db, content)
    if not entries:
        raise ConfigError(f"password file {name}: no usable line: expected lines of the form user:password")
    for user, password in entries:
        if _HASHED.match(password):
            raise ConfigError(
                f"password file {name}: the password of {_shown(user)} is stored as a hash; "
                f"{_NEEDS_PLAINTEXT}, so the file must hold plaintext, and be readable by the server only"
            )
        if not password:
            raise ConfigError(
                f"password file {name}: the password of {_shown(user)} is empty, "
                "so anybody could log in under that name: set a password, or remove the line"
            )
    passwords = [password for _, password in entries]
    if len(passwords) > 1 and all(map(_OLD_CRYPT.match, passwords)):
        raise ConfigError(
            f"password file {name}: all the passwords look like crypt hashes (13 characters each); "
            f"{_NEEDS_PLAINTEXT}, so the file must hold plaintext"
        )
    # A file of plain "user:x" lines is accepted. The system's list has more fields.
    if len(passwords) > 1 and _PLACEHOLDERS.issuperset(passwords) and content.count(db.delim) > 2 * len(entries):
        raise ConfigError(
            f"password file {name}: it contains placeholders instead of passwords, like the system's list of "
            "users: expected a file of your own, with user:password lines"
        )


def passwordFileWarnings(db: FilePasswordDB) -> list[str]:
    """
    Return one warning for each line that the checker ignores, wholly or in part. They contain no password.

    Blank lines, and lines that begin with ``#`` and have no separator, are ignored without a warning.

    :param db: a checker whose file `checkPasswordFile` has accepted.
    """
    name = os.fsdecode(db.filename)
    separator = db.delim.decode("utf-8", "backslashreplace")
    last = max(db.ufield, db.pfield)
    warnings: list[str] = []
    lines: dict[bytes, int] = {}
    for number, line in enumerate(_read(name).split(b"\n"), 1):
        parts = line.rstrip().split(db.delim)
        user = parts[db.ufield] if last < len(parts) else b""
        if last >= len(parts) and (not line.strip() or line.startswith(b"#")):
            continue
        if not user:
            why = f"line {number} is ignored: expected user{separator}password"
        elif user in lines:
            why = f"line {number} is ignored: line {lines[user]} has the user {_shown(user)} already"
        elif user != user.strip():
            why = f"line {number}: the user name {_shown(user)} begins or ends with a space"
        elif len(parts) > last + 1:
            why = f"line {number}: the password of {_shown(user)} ends at {separator!r}; the rest is ignored"
        else:
            why = ""
        lines.setdefault(user, number)
        if why:
            warnings.append(f"password file {name}: {why}")
    return warnings


def _read(name: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            # Refuse a pipe or a device: it reads differently each time, or never ends.
            kind = "a directory" if os.path.isdir(name) else "not a plain file"
            raise ConfigError(f"password file {name}: it is {kind}: expected a file of user:password lines")
        with open(name, "rb") as file:
            return file.read()
    except ConfigError:
        raise  # It is a ValueError too.
    except OSError as e:
        raise ConfigError(f"password file {name}: {e.strerror or e}") from None
    except ValueError as e:
        # The name contains a NUL.
        raise ConfigError(f"password file {name!r}: {e}") from None


def _entries(db: FilePasswordDB, content: bytes) -> list[tuple[bytes, bytes]]:
    """Return the entries as the checker will read them, without those that have no name."""
    found = []
    # Split as the checker does, which iterates over the file. splitlines() knows more line ends.
    for line in content.split(b"\n"):
        parts = line.rstrip().split(db.delim)
        if max(db.ufield, db.pfield) < len(parts) and parts[db.ufield]:
            found.append((parts[db.ufield], parts[db.pfield]))
    return found


def _shown(user: bytes) -> str:
    return repr(user.decode("utf-8", "backslashreplace"))

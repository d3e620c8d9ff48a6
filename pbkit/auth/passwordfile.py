"""
Files of ``user:password`` lines, checked before the server starts.

Stock's `FilePasswordDB` reads its file at the first login. If the file does not exist, may not be read or contains
hashes, it refuses every user with "unknown user or wrong password", as if each had mistyped the password.
"""

from __future__ import annotations

import os
import re
import stat

from twisted.cred.checkers import FilePasswordDB

from pbkit.errors import ConfigError

#: What a stored hash looks like: crypt's ``$6$salt$hash`` and its likes, and LDAP's ``{SSHA}hash``.
_HASHED = re.compile(rb"\$[0-9A-Za-z-]+\$|\{[0-9A-Za-z-]+\}")

#: crypt(3)'s first form: two characters of salt, eleven of hash.
_OLD_CRYPT = re.compile(rb"[./0-9A-Za-z]{13}\Z")

#: What the system's own list of users has in its password field. Taken as passwords, they would let in everybody who
#: knows that.
_PLACEHOLDERS = frozenset((b"x", b"*", b"!", b"!!"))

_NEEDS_PLAINTEXT = "PB's login is a challenge that can only be checked against the password itself"


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

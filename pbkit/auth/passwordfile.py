"""
A look, before the server starts, at a file of ``user:password`` lines.

Stock's `FilePasswordDB` finds out at the first login, and then refuses everybody with "unknown user
or wrong password": a file that is not there, may not be read, or holds hashes looks like a typing
mistake of each user.
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

#: What stands in the password field of the system's own list of users. Taken as passwords they would let
#: everybody in who knows that.
_PLACEHOLDERS = frozenset((b"x", b"*", b"!", b"!!"))

_NEEDS_PLAINTEXT = "PB's login is a challenge that can only be checked against the password itself"


def checkPasswordFile(db: FilePasswordDB) -> None:
    """
    See whether log-ins can be checked against this file.

    :param db: the checker; its file is read once, here, and not kept.
    :raises ConfigError: it is missing, cannot be read, is no plain file, holds not one usable line, holds
        hashes, or has a user whose password is empty.
    """
    name = os.fsdecode(db.filename)
    content = _read(name)
    entries = _entries(db, content)
    if not entries:
        raise ConfigError(f"password file {name}: no line of the form user:password in it")
    for user, password in entries:
        if _HASHED.match(password):
            raise ConfigError(
                f"password file {name}: the password of {_shown(user)} is stored as a hash; "
                f"{_NEEDS_PLAINTEXT}, so the file must hold plaintext, and be readable by the server only"
            )
        if not password:
            raise ConfigError(
                f"password file {name}: the password of {_shown(user)} is empty; "
                "anybody could log in by that name: give it one, or take the line out"
            )
    passwords = [password for _, password in entries]
    if len(passwords) > 1 and all(map(_OLD_CRYPT.match, passwords)):
        raise ConfigError(
            f"password file {name}: all the passwords look like crypt hashes (13 characters each); "
            f"{_NEEDS_PLAINTEXT}, so the file must hold plaintext"
        )
    # Somebody's whole file of plain "user:x" is his affair; that of the system has more fields.
    if len(passwords) > 1 and _PLACEHOLDERS.issuperset(passwords) and content.count(db.delim) > 2 * len(entries):
        raise ConfigError(
            f"password file {name}: it holds no passwords but placeholders, like the system's list of "
            "users; make a file of your own, of user:password lines"
        )


def _read(name: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            # A pipe or a device reads differently each time, or never ends.
            kind = "a directory" if os.path.isdir(name) else "not a plain file"
            raise ConfigError(f"password file {name}: it is {kind}; name a file of user:password lines")
        with open(name, "rb") as file:
            return file.read()
    except OSError as e:
        raise ConfigError(f"password file {name}: {e.strerror or e}") from None
    except ValueError as e:
        # A NUL in the name.
        raise ConfigError(f"password file {name!r}: {e}") from None


def _entries(db: FilePasswordDB, content: bytes) -> list[tuple[bytes, bytes]]:
    """The entries as the checker itself will read them, bar those without a name."""
    found = []
    # Not splitlines(): iterating over a file, as the checker does, knows no line end but this.
    for line in content.split(b"\n"):
        parts = line.rstrip().split(db.delim)
        if max(db.ufield, db.pfield) < len(parts) and parts[db.ufield]:
            found.append((parts[db.ufield], parts[db.pfield]))
    return found


def _shown(user: bytes) -> str:
    return repr(user.decode("utf-8", "backslashreplace"))

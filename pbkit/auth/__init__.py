"""
Credentials: how a client proves who it is, and what checks that.

::

    mechanisms.py    PB's own mechanism: a challenge, and the response to it
    checkers.py      cred's checkers, made to work with PB's login or refused with the reason
    passwordfile.py  files of user:password lines
"""

from pbkit.auth.checkers import AnyOf, checkForPb, makeChecker, spell
from pbkit.auth.passwordfile import PasswordFile, checkPasswordFile, passwordFileWarnings

__all__ = ["AnyOf", "PasswordFile", "checkForPb", "checkPasswordFile", "makeChecker", "passwordFileWarnings", "spell"]

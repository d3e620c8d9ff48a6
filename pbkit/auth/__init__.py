"""Who may log in: checkers that work with PB's login, and a word at start about those that cannot."""

from pbkit.auth.checkers import AnyOf, checkForPb, makeChecker, spell
from pbkit.auth.passwordfile import checkPasswordFile

__all__ = ["AnyOf", "checkForPb", "checkPasswordFile", "makeChecker", "spell"]

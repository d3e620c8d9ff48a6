"""Every error of pbkit: its place in the tree, its text, and how it is sent."""

from __future__ import annotations

import inspect
import re
from typing import Any

from twisted.cred.error import LoginDenied, LoginFailed, UnauthorizedLogin, UnhandledCredentials
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.spread import pb
from twisted.spread.interfaces import IJellyable
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, errors
from pbkit.sessions.login.refusals import refusalFor
from tests.support import Recorder, Wire, serve

CLASSES: list[Any] = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == "pbkit.errors"]
LOCAL = (errors.ConfigError, errors.ConnectError, errors.RemoteError, errors.TooLarge, errors.Malformed)
CROSSING = [cls for cls in CLASSES if not issubclass(cls, LOCAL)]


class TreeTests(SynchronousTestCase):
    """The classes and their base classes."""

    def test_tree(self) -> None:
        """The tree in the docstring lists exactly the existing classes."""
        drawn = set(re.findall(r"(?:\|--|`--|^    )\s*([A-Z]\w+)", errors.__doc__ or "", re.M))
        self.assertEqual(drawn - {"ValueError", "ConnectionError"}, {cls.__name__ for cls in CLASSES})

    def test_table(self) -> None:
        """The table contains exactly the errors that are sent, by their wire names."""
        self.assertEqual(set(errors.BY_NAME.values()), set(CROSSING))
        for name, cls in errors.BY_NAME.items():
            self.assertEqual(name, f"pbkit.errors.{cls.__name__}")

        class Later(errors.Kicked):
            pass

        self.assertNotIn(Later, errors.BY_NAME.values())

    def test_bases(self) -> None:
        """Each error has the base classes that old programs catch."""
        for cls in CROSSING:
            self.assertTrue(issubclass(cls, pb.Error), cls)
            if issubclass(cls, errors.LoginRefused):
                self.assertTrue(issubclass(cls, UnauthorizedLogin) and issubclass(cls, LoginDenied), cls)
            if issubclass(cls, errors.SessionEnded):
                self.assertTrue(issubclass(cls, pb.DeadReferenceError), cls)
        self.assertTrue(issubclass(errors.NoSuchMethod, pb.NoSuchMethod))
        self.assertTrue(issubclass(errors.CallTimedOut, TimeoutError))
        self.assertTrue(issubclass(errors.ConfigError, ValueError))
        self.assertTrue(issubclass(errors.TimedOut, TimeoutError))
        self.assertTrue(issubclass(errors.RemoteError, pb.RemoteError))
        for cls in LOCAL:
            self.assertFalse(issubclass(cls, pb.Error), cls)

    def test_noneIsCopied(self) -> None:
        """No error is Copyable or Jellyable: a peer that does not know such a class drops the connection."""
        for cls in CROSSING:
            self.assertFalse(issubclass(cls, (pb.Copyable, pb.Jellyable, pb.Serializable)), cls)
            self.assertFalse(IJellyable.implementedBy(cls), cls)

    def test_words(self) -> None:
        """Each error has a text of its own, and shows the detail if there is one."""
        texts = [str(cls()) for cls in CROSSING]
        self.assertEqual(len(set(texts)), len(texts))
        self.assertNotIn("", texts)
        for cls in CROSSING:
            self.assertIn("the reason", str(cls("the reason")))
            self.assertEqual(cls("the reason").detail, "the reason")

    def test_again(self) -> None:
        """The copy has the same class and text."""
        error = errors.Replaced("from a phone")
        again = error.again()
        self.assertIsNot(again, error)
        self.assertEqual((type(again), str(again)), (errors.Replaced, str(error)))


class CrossingTests(SynchronousTestCase):
    """How a stock client receives each error."""

    def test_each(self) -> None:
        """Each error arrives with its name and text, is recognised by `check`, and logs nothing."""
        for cls in CROSSING:
            realm = CachingRealm(Recorder, clock=Clock())
            wire = Wire(serve(realm))
            avatar = self.successResultOf(wire.login())
            waiting = wire.call(avatar, "wait")
            next(iter(realm.roster)).avatar.waiting.pop().errback(cls("a < \xfc"))
            wire.flush()
            failure = self.failureResultOf(waiting)
            self.assertEqual(failure.type, f"pbkit.errors.{cls.__name__}".encode())
            self.assertEqual(failure.getErrorMessage(), str(cls("a < \xfc")))
            for base in cls.__mro__[: cls.__mro__.index(Exception) + 1]:
                self.assertTrue(failure.check(base), (cls, base))
            self.assertEqual(self.flushLoggedErrors(), [])
            self.assertEqual(self.successResultOf(wire.call(avatar, "whoami")), "alice")


class RefusalTests(SynchronousTestCase):
    """`refusalFor`."""

    def refusal(self, error: BaseException) -> errors.LoginRefused:
        """Return the error that the client receives."""
        return refusalFor(Failure(error))

    def test_ownAsTheyAre(self) -> None:
        """A pbkit refusal is sent unchanged."""
        error = errors.TooManySessions("alice has 3 of 3 connections")
        self.assertIs(self.refusal(error), error)

    def test_meantForClients(self) -> None:
        """The text of an error that is meant for clients is sent."""
        for error in (LoginDenied("not today"), pb.Error("not today")):
            refusal = self.refusal(error)
            self.assertIs(type(refusal), errors.LoginRefused)
            self.assertEqual(str(refusal), "not today")

    def test_checkers(self) -> None:
        """The text of a checker's error is not sent."""
        for error in (UnauthorizedLogin("wrong password"), LoginFailed("no such user")):
            refusal = self.refusal(error)
            self.assertIs(type(refusal), errors.BadCredentials)
            self.assertEqual(str(refusal), errors.BadCredentials.text)

    def test_nobodyToAsk(self) -> None:
        """Credentials that no checker accepts are refused with the matching error."""
        for text, reason in (
            ("twisted.cred.credentials.IAnonymous", errors.AnonymousRefused),
            ("x", errors.BadCredentials),
        ):
            self.assertIs(type(self.refusal(UnhandledCredentials(f"No checker for {text}"))), reason)

    def test_anythingElse(self) -> None:
        """Any other exception is logged once under a new error id, and only the id is sent."""
        numbers = set()
        for _ in range(3):
            refusal = self.refusal(ValueError("db password is hunter2"))
            self.assertIs(type(refusal), errors.LoginUnavailable)
            self.assertNotIn("hunter2", str(refusal))
            found = re.search(r"error ([0-9a-f]{8})\)", str(refusal))
            assert found is not None
            numbers.add(found.group(1))
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertEqual(len(numbers), 3)

"""`PasswordFile`: an index of a file of user:password lines, renewed when the file changes."""

from __future__ import annotations

import os
import time
from hashlib import md5
from typing import Any
from unittest import mock

from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from pbkit import ServerFactory, errors
from pbkit.auth import PasswordFile, makeChecker
from pbkit.auth import passwordfile as module
from tests.server.case import ServerCase, portal
from tests.support import LENIENT, Wire


class Credentials:
    """What a login brings; notes what it is checked against."""

    def __init__(self, username: bytes, password: bytes) -> None:
        self.username = username
        self._password = password
        self.checked: list[bytes] = []

    def checkPassword(self, password: bytes) -> bool:
        """As `IUsernameHashedPassword.checkPassword`."""
        self.checked.append(password)
        return md5(password).digest() == md5(self._password).digest()


class PasswordFileTests(SynchronousTestCase):
    """A file that is asked, changed and asked again."""

    def write(self, content: bytes, age: float = 60.0) -> None:
        """Write the file, as if some time ago."""
        with open(self.path, "wb") as file:
            file.write(content)
        os.utime(self.path, (time.time() - age, time.time() - age))

    def setUp(self) -> None:
        """A file of two users."""
        self.path: str = self.mktemp()
        self.write(b"alice:sesame\nbob:swordfish\n")
        self.reads = 0
        self.checker = self.make()

    def make(self, **kw: Any) -> PasswordFile:
        """A checker that counts how often it reads the file."""
        case = self

        class Counting(PasswordFile):
            """Counts."""

            def load(self) -> None:
                """Count, and read."""
                case.reads += 1
                super().load()

        return Counting(self.path, **kw)

    def settled(self) -> None:
        """Time goes by: a change of the file that was made until now shows in its times."""
        self.patch(module, "UNSETTLED", -60.0)

    def ask(self, name: bytes, password: bytes) -> Any:
        """Log in."""
        return self.checker.requestAvatarId(Credentials(name, password))

    def test_isAChecker(self) -> None:
        """It is stock's checker, but for the index."""
        verifyObject(ICredentialsChecker, self.checker)
        self.assertIsInstance(self.checker, FilePasswordDB)

    def test_readOnce(self) -> None:
        """The file is read once, however many logins there are."""
        self.settled()
        for _ in range(10):
            self.assertEqual(self.successResultOf(self.ask(b"alice", b"sesame")), b"alice")
            self.failureResultOf(self.ask(b"alice", b"swordfish"), UnauthorizedLogin)
            self.failureResultOf(self.ask(b"carol", b"sesame"), UnauthorizedLogin)
        self.assertEqual(self.reads, 1)

    def test_renewed(self) -> None:
        """A change of the file is seen at the next login: other size, other time, or another file in its place."""
        self.settled()
        self.successResultOf(self.ask(b"alice", b"sesame"))
        self.write(b"alice:other\n")
        self.failureResultOf(self.ask(b"alice", b"sesame"), UnauthorizedLogin)
        self.successResultOf(self.ask(b"alice", b"other"))
        self.write(b"alice:third\n", age=30)
        self.successResultOf(self.ask(b"alice", b"third"))
        new = self.mktemp()
        with open(new, "wb") as file:
            file.write(b"carol:fourt\n")
        os.utime(new, (os.stat(self.path).st_mtime,) * 2)
        os.replace(new, self.path)
        self.successResultOf(self.ask(b"carol", b"fourt"))
        self.assertEqual(self.reads, 4)

    def test_changedInTheSameMoment(self) -> None:
        """A file that was modified just now is read again: a second change may leave its times as they were."""
        status = os.stat(self.path)
        self.successResultOf(self.ask(b"alice", b"sesame"))
        with open(self.path, "r+b") as file:
            file.write(b"alice:s3same")
        os.utime(self.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        with mock.patch.object(module, "_versionOf", lambda status: (0, 0, 0, 0, 0)):
            self.successResultOf(self.ask(b"alice", b"s3same"))

    def test_unreadable(self) -> None:
        """A file that cannot be read is no refusal: the login fails with the error. When it is back all is well."""
        self.successResultOf(self.ask(b"alice", b"sesame"))
        os.rename(self.path, self.path + "x")
        self.failureResultOf(self.ask(b"alice", b"sesame"), OSError)
        os.rename(self.path + "x", self.path)
        self.successResultOf(self.ask(b"alice", b"sesame"))

    def test_emptyPassword(self) -> None:
        """A user that does not exist is not let in with an empty password, which it is compared with."""
        credentials = Credentials(b"carol", b"")
        self.failureResultOf(self.checker.requestAvatarId(credentials), UnauthorizedLogin)
        self.assertEqual(credentials.checked, [b""])

    def test_firstLineCounts(self) -> None:
        """Of several lines for one user the first counts, as for stock."""
        self.write(b"alice:one\nalice:two\n")
        self.successResultOf(self.ask(b"alice", b"one"))
        self.failureResultOf(self.ask(b"alice", b"two"), UnauthorizedLogin)
        stock = FilePasswordDB(self.path)
        self.assertEqual(stock.getUser(b"alice"), self.checker.getUser(b"alice"))

    def test_caseAndFields(self) -> None:
        """Stock's parameters mean what they mean there."""
        self.write(b"1|Alice|sesame\n")
        self.checker = self.make(delim=b"|", usernameField=1, passwordField=2, caseSensitive=False)
        self.assertEqual(self.successResultOf(self.ask(b"ALICE", b"sesame")), b"alice")

    def test_hashed(self) -> None:
        """With a hash function it checks passwords, as stock's."""
        self.checker = self.make(hash=lambda user, password, stored: password[::-1])
        self.write(b"alice:emases\n")
        granted = self.checker.requestAvatarId(UsernamePassword(b"alice", b"sesame"))
        self.assertEqual(self.successResultOf(granted), b"alice")

    def test_manyUsers(self) -> None:
        """With 50,000 users a login takes microseconds, whether the user is at the top, at the bottom or nowhere."""
        self.write(b"".join(b"user%d:word%d\n" % (i, i) for i in range(50_000)))
        self.settled()
        self.checker.load()
        began = time.process_time()
        for name in (b"user0", b"user49999", b"nobody") * 100:
            self.checker.requestAvatarId(Credentials(name, b"x")).addErrback(lambda failure: None)
        # Stock takes 2.4 s for these.
        self.assertLess(time.process_time() - began, 0.5)


class ServedTests(ServerCase):
    """``--auth file:PATH``."""

    def test_fileThatVanishes(self) -> None:
        """While the file is not there, clients are told that the server could not log them in, and the log says why."""
        path: str = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"alice:sesame\n")
        checker = makeChecker(f"file:{path}")
        self.assertIsInstance(checker, PasswordFile)
        wire = Wire(ServerFactory(portal(self.realm, checker), clock=self.clock, profile=LENIENT))
        kept = self.successResultOf(wire.login())
        os.remove(path)
        self.assertTrue(self.failureResultOf(wire.login()).check(errors.LoginUnavailable))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        del kept

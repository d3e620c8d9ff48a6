"""`pbkit.auth`: checkers that work with PB's login; others are refused at start."""

from __future__ import annotations

import os
from typing import Any

from twisted.cred.checkers import (
    ANONYMOUS,
    AllowAnonymousAccess,
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import Anonymous, IAnonymous, ICredentials, IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.cred.strcred import makeChecker as stockMakeChecker
from twisted.internet.defer import Deferred, fail, succeed
from twisted.plugins.cred_unix import UNIXChecker
from twisted.spread import pb
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pbkit.auth import AnyOf, checkForPb, checkPasswordFile, makeChecker, passwordFileWarnings, spell
from pbkit.errors import ConfigError


def answered(username: Any, password: bytes) -> Any:
    """Stock's own credentials: the answer to a challenge, computed from a password."""
    challenge = pb.challenge()
    credentials = pb._PortalAuthChallenger(None, None, username, challenge)
    credentials.response = pb.respond(challenge, password)
    return credentials


@implementer(ICredentialsChecker)
class Checker:
    """A user's own checker."""

    credentialInterfaces: Any = (IUsernameHashedPassword,)

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def requestAvatarId(self, credentials: Any) -> Any:
        """Return or raise the answer."""
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@implementer(IRealm)
class Echo:
    """A realm that returns the avatar id."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """As `IRealm.requestAvatar`."""
        return avatarId


class MakeCheckerTests(SynchronousTestCase):
    """`makeChecker`: the values of ``--auth``."""

    def file(self, content: bytes) -> str:
        """Write a password file."""
        path: str = self.mktemp()
        with open(path, "wb") as f:
            f.write(content)
        return path

    def refusal(self, description: str) -> str:
        """Return the error for a description of a checker."""
        return str(self.assertRaises(ConfigError, makeChecker, description))

    def test_memoryUsers(self) -> None:
        """``memory:alice:sesame`` accepts alice through PB's login, with that password only."""
        checker = makeChecker("memory:alice:sesame:bob:swordfish")
        for name, password in [(b"alice", b"sesame"), (b"bob", b"swordfish")]:
            self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(name, password))), name)
        self.failureResultOf(checker.requestAvatarId(answered(b"alice", b"swordfish")), UnauthorizedLogin)

    def test_stocksMemoryCheckerAcceptsNobody(self) -> None:
        """Stock's checker for the same text does not know the user, because PB sends names as bytes."""
        checker: Any = stockMakeChecker("memory:alice:sesame")
        self.failureResultOf(checker.requestAvatarId(answered(b"alice", b"sesame")), UnauthorizedLogin)

    def test_memoryTakesNamesAndPasswordsBeyondAscii(self) -> None:
        """Names and passwords are UTF-8; other bytes from the command line are kept."""
        undecodable = os.fsdecode(b"\xff")
        checker = makeChecker(f"memory:zoë:пароль:{undecodable}:{undecodable}")
        for name, password in [("zoë".encode(), "пароль".encode()), (b"\xff", b"\xff")]:
            self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(name, password))), name)

    def test_memoryRefusesIncompleteUsers(self) -> None:
        """A missing or incomplete user, or an empty name or password, is an error that shows the syntax only."""
        for description in ["memory", "memory:", "memory:alice", "memory:alice:", "memory::hunter2"]:
            said = self.refusal(description)
            self.assertIn("memory", said)
            self.assertNotIn("hunter2", said)
        self.assertNotIn("hunter2", self.refusal("memory:alice:hunter2:bob"))

    def test_fileIsReadAtEachLogin(self) -> None:
        """``file:PATH`` accepts the users in the file, also those added later."""
        path = self.file(b"alice:sesame\n")
        checker = makeChecker(f"file:{path}")
        self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(b"alice", b"sesame"))), b"alice")
        with open(path, "ab") as f:
            f.write(b"bob:swordfish\n")
        self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(b"bob", b"swordfish"))), b"bob")

    def test_fileIsFoundWhereverTheProcessGoes(self) -> None:
        """A relative path refers to the start directory, although twistd changes to its --rundir later."""
        path = self.file(b"alice:sesame\n")
        checker = makeChecker(f"file:{path}")
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir("/")
        self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(b"alice", b"sesame"))), b"alice")

    def test_fileThatCannotBeReadIsRefused(self) -> None:
        """A missing file, a directory, an empty path and a device are errors at start."""
        directory = self.mktemp()
        os.mkdir(directory)
        self.assertIn("No such file", self.refusal("file:no-such-file"))
        said = self.refusal(f"file:{directory}")
        self.assertIn("directory", said)
        self.assertEqual(said.count("password file"), 1)
        self.assertIn("not a plain file", self.refusal("file:/dev/null"))
        self.assertIn("file", self.refusal("file:"))
        self.assertIn("file", self.refusal("file"))
        self.assertIn("null", self.refusal("file:a\0b"))

    def test_fileThatMayNotBeReadIsRefused(self) -> None:
        """A file without permission to read it is an error at start."""
        path = self.file(b"alice:sesame\n")
        os.chmod(path, 0)
        if os.access(path, os.R_OK):
            # Root can read any file, so this uses one that the system refuses to read.
            path = "/proc/self/mem"
            error = self.assertRaises(ConfigError, checkPasswordFile, FilePasswordDB(path))
            self.assertIn(path, str(error))
        else:
            self.assertIn("Permission denied", self.refusal(f"file:{path}"))

    def test_anonymousAcceptsGuests(self) -> None:
        """``anonymous`` returns the anonymous avatar id."""
        checker = makeChecker("anonymous")
        self.assertEqual(self.successResultOf(checker.requestAvatarId(Anonymous())), ANONYMOUS)

    def test_checkerOfPlainPasswordsIsRefused(self) -> None:
        """``unix`` cannot work with PB's challenge; the error says so and lists the types that can."""
        said = self.refusal("unix")
        self.assertIn("IUsernamePassword", said)
        self.assertIn("plaintext", said)

    def test_unknownTypeIsRefused(self) -> None:
        """An unknown type is an error that lists the known ones."""
        said = self.refusal("ldap:x:hunter2")
        self.assertIn("file:PATH, memory:NAME:PASSWORD, anonymous", said)
        self.assertNotIn("hunter2", said)


class CheckPasswordFileTests(SynchronousTestCase):
    """`checkPasswordFile`: the content of a password file."""

    def db(self, content: bytes, **kw: Any) -> FilePasswordDB:
        """Return a checker for a file with some content."""
        path = self.mktemp()
        with open(path, "wb") as f:
            f.write(content)
        return FilePasswordDB(path, **kw)

    def refusal(self, content: bytes, **kw: Any) -> str:
        """Return the error for a file with some content."""
        return str(self.assertRaises(ConfigError, checkPasswordFile, self.db(content, **kw)))

    def test_plaintextIsAccepted(self) -> None:
        """Lines user:password are accepted, with other lines, more fields and Windows line ends."""
        for content in [
            b"alice:sesame\n",
            b"alice:sesame\r\nbob:swordfish:more\r\n\r\n# a comment\n",
            b"alice:" + b"a" * 13 + b"\n",
            b"alice:x\n",
            b"alice:sesame\nbob:" + b"a" * 13,
            b"alice:$ecret\nbob:{curly\n",
        ]:
            checkPasswordFile(self.db(content))

    def test_ignoredLinesAreWarnings(self) -> None:
        """Lines that the checker ignores, wholly or partly, are warnings with line numbers and without passwords."""
        content = (
            b"alice:hunter2\n\n# comment\nbob hunter2\r\n:hunter2\nalice:hunter2\nbob:hunter2:more\n carol:hunter2\n"
        )
        db = self.db(content)
        said = passwordFileWarnings(db)
        name = os.fsdecode(db.filename)
        self.assertEqual(
            said,
            [
                f"password file {name}: line 4 is ignored: expected user:password",
                f"password file {name}: line 5 is ignored: expected user:password",
                f"password file {name}: line 6 is ignored: line 1 has the user 'alice' already",
                f"password file {name}: line 7: the password of 'bob' ends at ':'; the rest is ignored",
                f"password file {name}: line 8: the user name ' carol' begins or ends with a space",
            ],
        )
        self.assertNotIn("hunter2", str(said))
        self.assertEqual(passwordFileWarnings(self.db(b"alice:sesame\r\nbob:x\n\n# note\n")), [])
        other = self.db(b"1|alice|sesame\n2|bob\n", delim=b"|", usernameField=1, passwordField=2)
        (text,) = passwordFileWarnings(other)
        self.assertTrue(text.endswith("line 2 is ignored: expected user|password"), text)

    def test_fieldsOfTheChecker(self) -> None:
        """The delimiter and the fields are those of the checker."""
        checkPasswordFile(self.db(b"1|alice|sesame\n", delim=b"|", usernameField=1, passwordField=2))
        self.assertIn("no usable line", self.refusal(b"alice:sesame\n", delim=b"|"))

    def test_fileWithoutAUsableLineIsRefused(self) -> None:
        """A file without a valid line is refused."""
        for content in [b"", b"\n\n", b"alice\nbob\n", b":sesame\n"]:
            self.assertIn("user:password", self.refusal(content))

    def test_hashesAreRefused(self) -> None:
        """Hashes of crypt and LDAP are refused: PB's challenge cannot be checked against a hash."""
        for stored in [b"$6$salt$abcdef", b"$2b$12$abcdef", b"$apr1$x$y", b"{SSHA}abcdef", b"{SHA}x=="]:
            said = self.refusal(b"bob:swordfish\nalice:" + stored + b"\n")
            self.assertIn("'alice'", said)
            self.assertIn("plaintext", said)
            self.assertNotIn(stored.decode(), said)

    def test_onlyOldCryptHashesAreRefused(self) -> None:
        """If all passwords look like old crypt hashes, they are refused; a single one may be a password."""
        said = self.refusal(b"alice:ab1234567890.\nbob:cd./34567890X\n")
        self.assertIn("crypt", said)

    def test_etcPasswdIsRefused(self) -> None:
        """/etc/passwd has the password x for every user, so anyone could log in."""
        self.assertIn("placeholders", self.refusal(b"root:x:0:0\ndaemon:*:1:1\nbob:!:2:2\n"))

    def test_oneLetterIsAPassword(self) -> None:
        """Short passwords are accepted."""
        checkPasswordFile(self.db(b"alice:x\nbob:x\n"))

    def test_emptyPasswordIsRefused(self) -> None:
        """An empty password is refused: anyone could log in."""
        self.assertIn("'bob'", self.refusal(b"alice:sesame\nbob:\n"))

    def test_undecodableNameIsShownSafely(self) -> None:
        """A name that is not UTF-8 or has control characters is escaped in the error."""
        said = self.refusal(b"\xff\x1b[31m:\n")
        self.assertTrue(said.isprintable(), said)


class CheckForPbTests(SynchronousTestCase):
    """`checkForPb`: a user's own checker."""

    def test_acceptsCheckersOfPbsCredentials(self) -> None:
        """Checkers of hashed passwords, MD5 passwords and anonymous logins, or of their bases, are accepted."""
        for kind in [IUsernameHashedPassword, pb.IUsernameMD5Password, IAnonymous, ICredentials]:
            checker = Checker(b"alice")
            checker.credentialInterfaces = (IUsernamePassword, kind)
            checkForPb(checker)

    def test_refusesOtherCheckers(self) -> None:
        """A checker of plaintext passwords, or of nothing, is refused."""
        checker = Checker(b"alice")
        checker.credentialInterfaces = ()
        for one in [UNIXChecker(), checker, AnyOf([AllowAnonymousAccess(), checker])]:
            self.assertIn("PB's login never", str(self.assertRaises(ConfigError, checkForPb, one)))

    def test_refusesFileOfHashes(self) -> None:
        """A checker that compares hashes can only check plaintext passwords, and is refused."""
        checker = FilePasswordDB("passwd", hash=lambda user, password, stored: stored)
        self.assertIn("IUsernamePassword", str(self.assertRaises(ConfigError, checkForPb, checker)))

    def test_refusesOtherObjects(self) -> None:
        """An object that does not provide ICredentialsChecker is refused."""
        self.assertIn("ICredentialsChecker", str(self.assertRaises(ConfigError, checkForPb, object())))


class AnyOfTests(SynchronousTestCase):
    """`AnyOf`: several ``--auth``."""

    def test_acceptsUsersOfEachChecker(self) -> None:
        """Users of two checkers, and guests of a third, are accepted."""
        checker = AnyOf([makeChecker("memory:alice:a"), makeChecker("memory:bob:b"), makeChecker("anonymous")])
        for name, password in [(b"alice", b"a"), (b"bob", b"b")]:
            self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(name, password))), name)
        self.assertEqual(self.successResultOf(checker.requestAvatarId(Anonymous())), ANONYMOUS)

    def test_worksInAPortal(self) -> None:
        """A portal uses it for each kind of credentials. Of two separate checkers it would use only the last."""
        both = [makeChecker("memory:alice:a"), makeChecker("memory:bob:b")]
        for portal, letsIn in [(Portal(Echo(), both), False), (Portal(Echo(), [AnyOf(both)]), True)]:
            result = portal.login(answered(b"alice", b"a"), None, pb.IPerspective)
            if letsIn:
                self.assertEqual(self.successResultOf(result), b"alice")
            else:
                self.failureResultOf(result, UnauthorizedLogin)

    def test_refusesWhenAllRefuse(self) -> None:
        """After a refusal of any kind, the next checker is asked; the last refusal is the result."""
        checkers = [Checker(fail(UnauthorizedLogin())), Checker(LoginDenied()), Checker(UnauthorizedLogin())]
        result = AnyOf(checkers).requestAvatarId(answered(b"alice", b"a"))
        self.failureResultOf(result, UnauthorizedLogin)
        self.assertEqual([one.asked for one in checkers], [1, 1, 1])

    def test_stopsAtTheFirstThatAccepts(self) -> None:
        """After one checker has accepted, the next ones are not asked."""
        checkers = [Checker(succeed(b"alice")), Checker(b"mallory")]
        result = AnyOf(checkers).requestAvatarId(answered(b"alice", b"a"))
        self.assertEqual(self.successResultOf(result), b"alice")
        self.assertEqual([one.asked for one in checkers], [1, 0])

    def test_waitsForASlowChecker(self) -> None:
        """The next checker is asked after the one before has answered."""
        slow: Deferred[bytes] = Deferred()
        checkers = [Checker(slow), Checker(b"bob")]
        result = AnyOf(checkers).requestAvatarId(answered(b"alice", b"a"))
        self.assertNoResult(result)
        self.assertEqual(checkers[1].asked, 0)
        slow.errback(UnauthorizedLogin())
        self.assertEqual(self.successResultOf(result), b"bob")

    def test_failingCheckerIsSkipped(self) -> None:
        """An exception in a checker is logged, and the next one is asked."""
        result = AnyOf([Checker(ValueError("down")), Checker(b"alice")]).requestAvatarId(answered(b"alice", b"a"))
        self.assertEqual(self.successResultOf(result), b"alice")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_failingCheckerIsNotARefusal(self) -> None:
        """If no other checker accepts, the login fails with the exception of the failing checker."""
        checkers = [Checker(ValueError("down")), Checker(UnauthorizedLogin())]
        self.failureResultOf(AnyOf(checkers).requestAvatarId(answered(b"alice", b"a")), ValueError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_asksOnlyMatchingCheckers(self) -> None:
        """A checker of passwords is not asked about a guest; without another one, the guest is refused."""
        checker = Checker(b"alice")
        self.failureResultOf(AnyOf([checker]).requestAvatarId(Anonymous()), UnauthorizedLogin)
        self.assertEqual(checker.asked, 0)


class SpellTests(SynchronousTestCase):
    """`spell`: a user name in the form that a checker uses."""

    def test_strForStocksMemoryChecker(self) -> None:
        """Stock's checker from the command line has str names, wrapped or not."""
        checker: Any = stockMakeChecker("memory:zoë:sesame")
        for checkers in [[checker], [AnyOf([AllowAnonymousAccess(), AnyOf([checker])])]]:
            self.assertEqual(spell(Portal(Echo(), checkers), "zoë".encode()), "zoë")

    def test_bytesOtherwise(self) -> None:
        """Names that the checker has as bytes or does not know, and names that are not UTF-8, stay bytes."""
        checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"a")
        users: Any = checker.users
        users["alice"] = "b"
        portal = Portal(Echo(), [checker])
        for name in [b"alice", b"bob", b"\xff", b""]:
            self.assertEqual(spell(portal, name), name)
        self.assertEqual(spell(Portal(Echo(), [FilePasswordDB("passwd")]), b"alice"), b"alice")

"""`pbkit.auth`: checkers that work with PB's login, and the others told so at start."""

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
    """Stock's own credentials: the answer to a challenge by one who types this password."""
    challenge = pb.challenge()
    credentials = pb._PortalAuthChallenger(None, None, username, challenge)
    credentials.response = pb.respond(challenge, password)
    return credentials


@implementer(ICredentialsChecker)
class Checker:
    """A checker of a user's own."""

    credentialInterfaces: Any = (IUsernameHashedPassword,)

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def requestAvatarId(self, credentials: Any) -> Any:
        """Give the answer, or raise it."""
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@implementer(IRealm)
class Echo:
    """A realm that gives the avatar id back."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        """`IRealm`."""
        return avatarId


class MakeCheckerTests(SynchronousTestCase):
    """`makeChecker`: what ``--auth`` takes."""

    def file(self, content: bytes) -> str:
        """A password file."""
        path: str = self.mktemp()
        with open(path, "wb") as f:
            f.write(content)
        return path

    def refusal(self, description: str) -> str:
        """What is said to somebody who wants this checker."""
        return str(self.assertRaises(ConfigError, makeChecker, description))

    def test_memoryKnowsItsUsersAsPbNamesThem(self) -> None:
        """``memory:alice:sesame`` lets alice in by PB's login, with that password and no other."""
        checker = makeChecker("memory:alice:sesame:bob:swordfish")
        for name, password in [(b"alice", b"sesame"), (b"bob", b"swordfish")]:
            self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(name, password))), name)
        self.failureResultOf(checker.requestAvatarId(answered(b"alice", b"swordfish")), UnauthorizedLogin)

    def test_stocksMemoryCheckerNeverLetAnybodyIn(self) -> None:
        """What `makeChecker` mends: stock's checker of the same text has no user of that name."""
        checker: Any = stockMakeChecker("memory:alice:sesame")
        self.failureResultOf(checker.requestAvatarId(answered(b"alice", b"sesame")), UnauthorizedLogin)

    def test_memoryTakesNamesAndPasswordsBeyondAscii(self) -> None:
        """Names and passwords go as UTF-8; bytes from the command line that are none stay as they were."""
        undecodable = os.fsdecode(b"\xff")
        checker = makeChecker(f"memory:zoë:пароль:{undecodable}:{undecodable}")
        for name, password in [("zoë".encode(), "пароль".encode()), (b"\xff", b"\xff")]:
            self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(name, password))), name)

    def test_memoryRefusesWhatNamesNobody(self) -> None:
        """No user, half a user, an empty name or password: refused, with how to write it and no password."""
        for description in ["memory", "memory:", "memory:alice", "memory:alice:", "memory::hunter2"]:
            said = self.refusal(description)
            self.assertIn("memory", said)
            self.assertNotIn("hunter2", said)
        self.assertNotIn("hunter2", self.refusal("memory:alice:hunter2:bob"))

    def test_fileIsReadAtEachLogin(self) -> None:
        """``file:PATH`` lets in whom the file names, and whoever is added to it later."""
        path = self.file(b"alice:sesame\n")
        checker = makeChecker(f"file:{path}")
        self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(b"alice", b"sesame"))), b"alice")
        with open(path, "ab") as f:
            f.write(b"bob:swordfish\n")
        self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(b"bob", b"swordfish"))), b"bob")

    def test_fileIsFoundWhereverTheProcessGoes(self) -> None:
        """A relative path means the directory of the start, though twistd goes to its --rundir later."""
        path = self.file(b"alice:sesame\n")
        checker = makeChecker(f"file:{path}")
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir("/")
        self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(b"alice", b"sesame"))), b"alice")

    def test_fileThatCannotBeReadIsRefused(self) -> None:
        """Missing, a directory, no path at all, a device: each is told at start."""
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
        """A file without the right to read it is told at start."""
        path = self.file(b"alice:sesame\n")
        os.chmod(path, 0)
        if os.access(path, os.R_OK):
            # Root reads anything: a file that the system itself refuses to read stands in.
            path = "/proc/self/mem"
            error = self.assertRaises(ConfigError, checkPasswordFile, FilePasswordDB(path))
            self.assertIn(path, str(error))
        else:
            self.assertIn("Permission denied", self.refusal(f"file:{path}"))

    def test_anonymousLetsGuestsIn(self) -> None:
        """``anonymous`` gives the anonymous avatar id."""
        checker = makeChecker("anonymous")
        self.assertEqual(self.successResultOf(checker.requestAvatarId(Anonymous())), ANONYMOUS)

    def test_whatNeedsThePasswordItselfIsRefused(self) -> None:
        """``unix`` cannot work with PB's challenge, and that is said, with what can."""
        said = self.refusal("unix")
        self.assertIn("IUsernamePassword", said)
        self.assertIn("plaintext", said)

    def test_whatIsUnknownIsRefused(self) -> None:
        """An unknown type is refused with those that there are."""
        said = self.refusal("ldap:x:hunter2")
        self.assertIn("file:PATH, memory:NAME:PASSWORD, anonymous", said)
        self.assertNotIn("hunter2", said)


class CheckPasswordFileTests(SynchronousTestCase):
    """`checkPasswordFile`: what may stand in a password file."""

    def db(self, content: bytes, **kw: Any) -> FilePasswordDB:
        """A checker over a file of this content."""
        path = self.mktemp()
        with open(path, "wb") as f:
            f.write(content)
        return FilePasswordDB(path, **kw)

    def refusal(self, content: bytes, **kw: Any) -> str:
        """What is said to somebody who serves this file."""
        return str(self.assertRaises(ConfigError, checkPasswordFile, self.db(content, **kw)))

    def test_plaintextIsTaken(self) -> None:
        """Lines of user:password, with other lines, further fields and Windows line ends, will do."""
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
        """Lines that the checker ignores, wholly or in part, are warnings with their numbers and without passwords."""
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

    def test_fieldsAreTheCheckersOwn(self) -> None:
        """The delimiter and the fields are those that the checker reads."""
        checkPasswordFile(self.db(b"1|alice|sesame\n", delim=b"|", usernameField=1, passwordField=2))
        self.assertIn("no usable line", self.refusal(b"alice:sesame\n", delim=b"|"))

    def test_fileWithoutAUsableLineIsRefused(self) -> None:
        """An empty file, and one of other lines, would let nobody in."""
        for content in [b"", b"\n\n", b"alice\nbob\n", b":sesame\n"]:
            self.assertIn("user:password", self.refusal(content))

    def test_hashesAreRefused(self) -> None:
        """Crypt's and LDAP's forms are hashes, and PB's challenge cannot be checked against one."""
        for stored in [b"$6$salt$abcdef", b"$2b$12$abcdef", b"$apr1$x$y", b"{SSHA}abcdef", b"{SHA}x=="]:
            said = self.refusal(b"bob:swordfish\nalice:" + stored + b"\n")
            self.assertIn("'alice'", said)
            self.assertIn("plaintext", said)
            self.assertNotIn(stored.decode(), said)

    def test_onlyOldCryptHashesAreRefused(self) -> None:
        """Two passwords of crypt's old form are hashes; one among others may be a password."""
        said = self.refusal(b"alice:ab1234567890.\nbob:cd./34567890X\n")
        self.assertIn("crypt", said)

    def test_theSystemsListOfUsersIsRefused(self) -> None:
        """/etc/passwd has an x for everybody's password: anybody could log in with that."""
        self.assertIn("placeholders", self.refusal(b"root:x:0:0\ndaemon:*:1:1\nbob:!:2:2\n"))

    def test_oneLetterIsAPassword(self) -> None:
        """A file of name and password is taken at its word, whatever the passwords are."""
        checkPasswordFile(self.db(b"alice:x\nbob:x\n"))

    def test_emptyPasswordIsRefused(self) -> None:
        """A user whose password is empty would be anybody."""
        self.assertIn("'bob'", self.refusal(b"alice:sesame\nbob:\n"))

    def test_undecodableNameIsShownSafely(self) -> None:
        """A name of bytes that are no text, or that a terminal obeys, is escaped in the error."""
        said = self.refusal(b"\xff\x1b[31m:\n")
        self.assertTrue(said.isprintable(), said)


class CheckForPbTests(SynchronousTestCase):
    """`checkForPb`: a checker of the user's own."""

    def test_takesWhatChecksOneOfPbsCredentials(self) -> None:
        """Hashed passwords, MD5 passwords, anonymous, or what these derive from."""
        for kind in [IUsernameHashedPassword, pb.IUsernameMD5Password, IAnonymous, ICredentials]:
            checker = Checker(b"alice")
            checker.credentialInterfaces = (IUsernamePassword, kind)
            checkForPb(checker)

    def test_refusesWhatChecksNoneOfThem(self) -> None:
        """A checker of passwords themselves, or of nothing, cannot work."""
        checker = Checker(b"alice")
        checker.credentialInterfaces = ()
        for one in [UNIXChecker(), checker, AnyOf([AllowAnonymousAccess(), checker])]:
            self.assertIn("PB's login never", str(self.assertRaises(ConfigError, checkForPb, one)))

    def test_refusesFileOfHashes(self) -> None:
        """A checker made to compare hashes checks passwords only."""
        checker = FilePasswordDB("passwd", hash=lambda user, password, stored: stored)
        self.assertIn("IUsernamePassword", str(self.assertRaises(ConfigError, checkForPb, checker)))

    def test_refusesWhatIsNoChecker(self) -> None:
        """An object that does not provide ICredentialsChecker is no checker."""
        self.assertIn("ICredentialsChecker", str(self.assertRaises(ConfigError, checkForPb, object())))


class AnyOfTests(SynchronousTestCase):
    """`AnyOf`: several ``--auth``."""

    def test_letsInWhoeverOneOfThemKnows(self) -> None:
        """Users of two checkers, and guests of a third, all come in."""
        checker = AnyOf([makeChecker("memory:alice:a"), makeChecker("memory:bob:b"), makeChecker("anonymous")])
        for name, password in [(b"alice", b"a"), (b"bob", b"b")]:
            self.assertEqual(self.successResultOf(checker.requestAvatarId(answered(name, password))), name)
        self.assertEqual(self.successResultOf(checker.requestAvatarId(Anonymous())), ANONYMOUS)

    def test_worksInAPortal(self) -> None:
        """A portal asks it for each kind of credentials; of two bare checkers it would keep the last."""
        both = [makeChecker("memory:alice:a"), makeChecker("memory:bob:b")]
        for portal, letsIn in [(Portal(Echo(), both), False), (Portal(Echo(), [AnyOf(both)]), True)]:
            result = portal.login(answered(b"alice", b"a"), None, pb.IPerspective)
            if letsIn:
                self.assertEqual(self.successResultOf(result), b"alice")
            else:
                self.failureResultOf(result, UnauthorizedLogin)

    def test_refusesWhenAllRefuse(self) -> None:
        """Refusals of any kind, raised or in a Deferred, ask the next; the last one ends it."""
        checkers = [Checker(fail(UnauthorizedLogin())), Checker(LoginDenied()), Checker(UnauthorizedLogin())]
        result = AnyOf(checkers).requestAvatarId(answered(b"alice", b"a"))
        self.failureResultOf(result, UnauthorizedLogin)
        self.assertEqual([one.asked for one in checkers], [1, 1, 1])

    def test_asksNoFurtherThanTheFirstThatAgrees(self) -> None:
        """Whoever is let in by one is not asked about at the next."""
        checkers = [Checker(succeed(b"alice")), Checker(b"mallory")]
        result = AnyOf(checkers).requestAvatarId(answered(b"alice", b"a"))
        self.assertEqual(self.successResultOf(result), b"alice")
        self.assertEqual([one.asked for one in checkers], [1, 0])

    def test_waitsForASlowChecker(self) -> None:
        """The next is not asked before the one before it has answered."""
        slow: Deferred[bytes] = Deferred()
        checkers = [Checker(slow), Checker(b"bob")]
        result = AnyOf(checkers).requestAvatarId(answered(b"alice", b"a"))
        self.assertNoResult(result)
        self.assertEqual(checkers[1].asked, 0)
        slow.errback(UnauthorizedLogin())
        self.assertEqual(self.successResultOf(result), b"bob")

    def test_oneThatBreaksKeepsNobodyOut(self) -> None:
        """A checker that is out of order is logged, and the next is asked."""
        result = AnyOf([Checker(ValueError("down")), Checker(b"alice")]).requestAvatarId(answered(b"alice", b"a"))
        self.assertEqual(self.successResultOf(result), b"alice")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_oneThatBreaksIsNotARefusal(self) -> None:
        """If nobody else agrees, the error of the broken one is what the login fails with; who gets it logs it."""
        checkers = [Checker(ValueError("down")), Checker(UnauthorizedLogin())]
        self.failureResultOf(AnyOf(checkers).requestAvatarId(answered(b"alice", b"a")), ValueError)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_asksOnlyThoseForTheseCredentials(self) -> None:
        """A checker of passwords is not asked about a guest; if there is no other, the guest is refused."""
        checker = Checker(b"alice")
        self.failureResultOf(AnyOf([checker]).requestAvatarId(Anonymous()), UnauthorizedLogin)
        self.assertEqual(checker.asked, 0)


class SpellTests(SynchronousTestCase):
    """`spell`: a user's name as the checker at hand has it."""

    def test_isTheStrWhereStocksMemoryCheckerHasThat(self) -> None:
        """Stock's checker from the command line has str names: that is how to ask it, wrapped or not."""
        checker: Any = stockMakeChecker("memory:zoë:sesame")
        for checkers in [[checker], [AnyOf([AllowAnonymousAccess(), AnyOf([checker])])]]:
            self.assertEqual(spell(Portal(Echo(), checkers), "zoë".encode()), "zoë")

    def test_isTheBytesOtherwise(self) -> None:
        """Names that it has as bytes, or not at all, and names that are no text, stay bytes."""
        checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"a")
        users: Any = checker.users
        users["alice"] = "b"
        portal = Portal(Echo(), [checker])
        for name in [b"alice", b"bob", b"\xff", b""]:
            self.assertEqual(spell(portal, name), name)
        self.assertEqual(spell(Portal(Echo(), [FilePasswordDB("passwd")]), b"alice"), b"alice")

"""`pbkit.tap`: the options of ``twistd pbkit``."""

from __future__ import annotations

import os
import sys
from io import StringIO
from typing import Any, cast

from twisted.application.service import IService, IServiceMaker
from twisted.copyright import version as twistedVersion
from twisted.internet import reactor
from twisted.plugin import getPlugins
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

import pbkit
from pbkit.config.values import SETTINGS
from pbkit.demo import DemoAvatar
from pbkit.serving.reload import Reload
from pbkit.serving.service import Server
from pbkit.sessions.realms import NAMED
from pbkit.tap import Options, TwistdTerminal, makeService
from pbkit.wire.profile import DROPIN


class OptionsTests(SynchronousTestCase):
    """`Options`."""

    def setUp(self) -> None:
        """Restore `sys.path` after the test."""
        self.patch(sys, "path", list(sys.path))

    def parsed(self, *words: str) -> Options:
        """Return the parsed options."""
        options = Options()
        options.parseOptions(words)
        return options

    def refusal(self, *words: str) -> str:
        """Return the one-line error for these options."""
        said = str(self.assertRaises(UsageError, self.parsed, *words))
        self.assertNotIn("\n", said)
        return said

    def shown(self, *words: str) -> str:
        """Return the output of options that exit with status 0."""
        out = StringIO()
        self.patch(sys, "stdout", out)
        self.patch(Options, "authOutput", out)
        self.assertEqual(self.assertRaises(SystemExit, self.parsed, *words).code, 0)
        return out.getvalue()

    def test_nothingSaidServesTheCachingRealmToAGuestOnLoopback(self) -> None:
        """The defaults are the caching realm, the demo avatar, port 8787 of this machine, and one user."""
        plan: Any = self.parsed().plan
        assert plan is not None
        self.assertIs(type(plan.realm), NAMED["caching"])
        self.assertIs(plan.realm.avatarClass, DemoAvatar)
        self.assertEqual([text for text, _ in plan.listen], ["tcp:8787:interface=127.0.0.1"])
        self.assertIsNotNone(plan.guest)

    def test_everythingSaidIsInThePlan(self) -> None:
        """The plan has the given realm, avatar, checkers and listeners, in order."""
        plan: Any = self.parsed(
            "--realm", "limited:max=2", "--avatar", "pbkit.sessions.clock.ClockAvatar",
            "--auth", "memory:alice:a", "--auth", "memory:bob:b",
            "--listen", "tcp:1", "--listen", "unix:x",
        ).plan  # fmt: skip
        assert plan is not None
        self.assertEqual(plan.realm.max, 2)
        self.assertEqual(plan.realm.avatarClass.__name__, "ClockAvatar")
        self.assertEqual([list(one.users) for one in plan.checkers], [[b"alice"], [b"bob"]])
        self.assertEqual([text for text, _ in plan.listen], ["tcp:1", "unix:x"])
        self.assertIsNone(plan.guest)

    def test_whatIsWrongIsOneLine(self) -> None:
        """Each error is a one-line usage error that says what is expected."""
        for words, said in [
            (["--realm", "nonsense"], "caching"),
            (["--realm", "limited:maximum=3"], "max: int"),
            (["--realm", "limited:max=x"], "an integer"),
            (["--realm", "limited:max"], "key=value"),
            (["--realm", "nosuchgame.Realm"], "nosuchgame.Realm"),
            (["--avatar", "nosuchgame.Player"], "nosuchgame.Player"),
            (["--auth", "unix"], "plaintext"),
            (["--auth", "nonsense"], "file:PATH"),
            (["--auth", "file:no-such-file"], "No such file"),
            (["--auth", "anonymous"], "refuses anonymous"),
            (["--listen", "tcp:8787"], "--auth"),
            (["--listen", "nonsense:1", "--auth", "memory:a:b"], "nonsense"),
            (["--nonsense"], "nonsense"),
            (["nonsense"], "unexpected argument 'nonsense'"),
        ]:
            self.assertIn(said, self.refusal(*words))

    def test_noPasswordIsInAnError(self) -> None:
        """Errors about checkers contain no password."""
        for description in ["memory:alice:hunter2:bob", "memory::hunter2", "nonsense:hunter2"]:
            self.assertNotIn("hunter2", self.refusal("--auth", description))

    def test_listsTheRealms(self) -> None:
        """--list-realms prints one line per realm."""
        lines = self.shown("--list-realms").splitlines()
        self.assertEqual([line.split()[0] for line in lines], list(NAMED))

    def test_listsTheCheckersThatCanWork(self) -> None:
        """--help-auth lists only the checkers that PB's login can use."""
        shown = self.shown("--help-auth")
        for kind in ["memory", "file", "anonymous"]:
            self.assertIn(kind, shown)
        self.assertNotIn("unix", shown)

    def test_showsTheVersions(self) -> None:
        """--version prints the versions of pbkit and Twisted."""
        self.assertEqual(self.shown("--version"), f"pbkit {pbkit.__version__} (Twisted {twistedVersion})\n")

    def test_helpExplainsEveryOption(self) -> None:
        """--help lists all options, and says what happens without --auth."""
        usage = str(Options())
        for word in ["--realm", "--list-realms", "--avatar", "--listen", "--auth", "--help-auth", "--version"]:
            self.assertIn(word, usage)
        self.assertIn("Without --auth", " ".join(usage.split()))

    def test_modulesBesideTheOperatorAreFound(self) -> None:
        """An avatar in the current directory is found, although that is not on the path."""
        directory = self.mktemp()
        os.mkdir(directory)
        with open(os.path.join(directory, "besidegame.py"), "w", encoding="utf-8") as f:
            f.write("from pbkit import Avatar\nclass Player(Avatar): pass\n")
        self.addCleanup(os.chdir, os.getcwd())
        self.addCleanup(sys.modules.pop, "besidegame", None)
        os.chdir(directory)
        plan: Any = self.parsed("--avatar", "besidegame.Player").plan
        assert plan is not None
        self.assertEqual(plan.realm.avatarClass.__module__, "besidegame")


class ConfigTests(SynchronousTestCase):
    """``--config``, ``--check-config`` and ``--print-config``."""

    def setUp(self) -> None:
        """Change to an empty directory, and restore `sys.path` after the test."""
        self.patch(sys, "path", list(sys.path))
        directory = self.mktemp()
        os.mkdir(directory)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(directory)

    def write(self, content: str) -> None:
        """Write the file."""
        with open("pbkit.toml", "w", encoding="utf-8") as f:
            f.write(content)

    def parsed(self, *words: str) -> Options:
        """Return the parsed options."""
        options = Options()
        options.parseOptions(words)
        return options

    def shown(self, *words: str) -> tuple[Any, str, str]:
        """Return the exit status, standard output and standard error."""
        out, err = StringIO(), StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        status = self.assertRaises(SystemExit, self.parsed, *words).code
        return status, out.getvalue(), err.getvalue()

    def test_fileIsServedWithFlagsAbove(self) -> None:
        """The plan has the settings of the file, unless a flag replaces them."""
        self.write("[server]\nrealm = 'limited'\nlisten = ['unix:x', 'unix:y']\n[realm]\nmax = 2\n")
        plan: Any = self.parsed("--config", "pbkit.toml", "--listen", "unix:z", "--grace", "1.5").plan
        assert plan is not None
        self.assertEqual((plan.realm.max, [text for text, _ in plan.listen]), (2, ["unix:z"]))
        self.assertEqual(plan.config.grace, 1.5)

    def test_everySettingHasAFlag(self) -> None:
        """Each key of [server] is also a flag with a help text."""
        usage = str(Options())
        for setting in SETTINGS:
            self.assertIn(f"--{setting.name}=", usage)
        for flag in ["--config=", "--check-config", "--print-config"]:
            self.assertIn(flag, usage)

    def test_profileIsServed(self) -> None:
        """The factory and its connections have the given profile."""
        service = makeService(self.parsed("--profile", "drop-in"))
        self.addCleanup(service._terminal.close)
        broker = service.factory.buildProtocol(None)
        self.assertEqual((service.factory.profile, broker.profile), (DROPIN, DROPIN))
        self.assertEqual(service.portal, cast(Any, service.factory.root).portal)

    def test_whatIsWrongIsAUsageError(self) -> None:
        """All errors are reported, one line each."""
        self.write("[server]\nlisen = 1\n[realm]\nmax = 2\n")
        said = str(self.assertRaises(UsageError, self.parsed, "--config", "pbkit.toml"))
        self.assertEqual([line.partition(": ")[0] for line in said.splitlines()], ["pbkit.toml:2", "pbkit.toml:4"])
        said = str(self.assertRaises(UsageError, self.parsed, "--config", "pbkti.toml"))
        self.assertEqual(said, "cannot read config pbkti.toml: no such file, did you mean 'pbkit.toml'?")
        for text in ["soon", "-1", "nan", "inf"]:
            self.assertIn("at least 0", str(self.assertRaises(UsageError, self.parsed, "--grace", text)))

    def test_checkSaysOk(self) -> None:
        """--check-config prints OK and exits with status 0 for a valid configuration."""
        self.write("[server]\nrealm = 'limited'\n")
        self.assertEqual(self.shown("--config", "pbkit.toml", "--check-config"), (0, "pbkit.toml: OK\n", ""))
        self.assertEqual(self.shown("--check-config"), (0, "command line: OK\n", ""))

    def test_checkSaysAllThatIsWrong(self) -> None:
        """--check-config prints all errors and exits with status 1. They contain no password."""
        self.write("[server]\nlisen = 1\nauth = ['memory:hunter2']\n")
        status, out, err = self.shown("--config", "pbkit.toml", "--check-config", "--realm", "limted")
        self.assertEqual((status, out, len(err.splitlines())), (1, "", 3))
        self.assertNotIn("hunter2", err)
        self.assertEqual(self.shown("--config", "pbkit.toml", "--print-config", "--realm", "limted"), (1, "", err))

    def test_printShowsWhatIsInForce(self) -> None:
        """--print-config prints the settings with their origins, and no password."""
        self.write("[server]\nauth = ['memory:alice:hunter2']\n")
        status, out, err = self.shown("--config", "pbkit.toml", "--print-config", "--realm", "limited:max=2")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("max = 2  # --realm\n", out)
        self.assertNotIn("hunter2", out)

    def test_onlyAFileIsReadAgain(self) -> None:
        """SIGHUP is handled only if there is a configuration file."""
        self.write("")
        for words, number in [((), 0), (("--config", "pbkit.toml"), 1)]:
            service = makeService(self.parsed(*words))
            self.addCleanup(service._terminal.close)
            self.assertEqual(len([child for child in service if isinstance(child, Reload)]), number)


class MakeServiceTests(SynchronousTestCase):
    """`makeService`."""

    def setUp(self) -> None:
        """Restore `sys.path` after the test."""
        self.patch(sys, "path", list(sys.path))

    def test_makesAServiceThatIsNotStarted(self) -> None:
        """The service has the plan of the options, and is not started."""
        options = Options()
        options.parseOptions(["--realm", "multi"])
        service = makeService(options)
        self.addCleanup(service._terminal.close)
        self.assertTrue(IService.providedBy(service))
        self.assertIsInstance(service, Server)
        self.assertIs(service.plan, options.plan)
        self.assertIs(service.factory.clock, reactor)
        self.assertFalse(service.running)

    def test_optionsNeedNotBeParsed(self) -> None:
        """Unparsed options mean the defaults."""
        service = makeService(Options())
        self.addCleanup(service._terminal.close)
        self.assertIs(type(service.plan.realm), NAMED["caching"])

    def test_pluginIsListed(self) -> None:
        """twistd finds the plugin under the name pbkit."""
        makers: list[Any] = [one for one in getPlugins(IServiceMaker) if one.tapname == "pbkit"]
        # There is more than one if the tests run in a checkout and pbkit is installed as well.
        self.assertNotEqual(makers, [])
        for maker in makers:
            self.assertIs(maker.options, Options)
            self.assertIs(maker.makeService, makeService)


class TerminalTests(SynchronousTestCase):
    """`TwistdTerminal`: the standard streams before twistd redirects them."""

    def streams(self) -> tuple[Any, Any]:
        """Replace each standard stream by a file."""
        files = [open(self.mktemp(), "w+", encoding="utf-8") for _ in range(2)]
        for name, file in zip(["stdout", "stderr"], files, strict=True):
            self.addCleanup(file.close)
            self.patch(sys, name, file)
        return files[0], files[1]

    def read(self, file: Any) -> str:
        """Return the content of a file."""
        with open(file.name, encoding="utf-8") as f:
            return f.read()

    def test_reachesTheOriginalStreams(self) -> None:
        """Lines go to the original streams, at once, after these are replaced."""
        out, err = self.streams()
        terminal = TwistdTerminal()
        log = StringIO()
        self.patch(sys, "stdout", log)
        self.patch(sys, "stderr", log)
        terminal.say("hello")
        terminal.complain("no")
        self.assertEqual((self.read(out), self.read(err), log.getvalue()), ("hello\n", "no\n", ""))
        terminal.close()

    def test_survivesTheDescriptors(self) -> None:
        """Lines arrive after a daemon has closed its standard descriptors."""
        out, _ = self.streams()
        terminal = TwistdTerminal()
        out.close()
        terminal.say("hello")
        self.assertEqual(self.read(out), "hello\n")
        terminal.close()

    def test_isSilentOnceClosed(self) -> None:
        """Nothing is shown after it is closed."""
        out, err = self.streams()
        terminal = TwistdTerminal()
        terminal.close()
        terminal.close()
        log = StringIO()
        self.patch(sys, "stdout", log)
        terminal.say("hello")
        terminal.complain("no")
        self.assertEqual((self.read(out), self.read(err), log.getvalue()), ("", "", ""))

    def test_takesStreamsWithoutAFile(self) -> None:
        """A stream without a descriptor is used as it is and stays open. A missing stream is ignored."""
        out = StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", None)
        terminal = TwistdTerminal()
        self.patch(sys, "stdout", StringIO())
        terminal.say("hello")
        terminal.complain("no")
        terminal.close()
        self.assertEqual(out.getvalue(), "hello\n")
        self.assertFalse(out.closed)

    def test_aReaderThatIsGoneDoesNoHarm(self) -> None:
        """A closed pipe does not keep the server from starting."""
        reading, writing = os.pipe()
        with os.fdopen(writing, "w") as stream:
            self.patch(sys, "stdout", stream)
            terminal = TwistdTerminal()
            os.close(reading)
            terminal.say("hello")
            terminal.close()

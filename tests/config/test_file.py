"""`pbkit.config.file`, and the plan and the output of --print-config that are made from a file."""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from pbkit import LimitedRealm
from pbkit.config.fields import exampleOf, settableFields, settingsOf, withSettings
from pbkit.config.file import combine, parseFile
from pbkit.config.values import DEFAULT_LISTEN, Problems, ServerConfig
from pbkit.errors import ConfigError, typeName
from pbkit.serving.plan import prepare
from pbkit.serving.reload import Source
from pbkit.serving.resolve import describeRealm
from pbkit.serving.showconfig import asToml, tomlKey, tomlValue
from pbkit.wire.profile import DROPIN, STRICT, Profile
from tests.config.broken import BROKEN

NAME = "pbkit.toml"

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"

WHOLE = """
[server]
realm = "limited"
avatar = "pbkit.sessions.clock.ClockAvatar"
listen = ["tcp:1", "unix:x"]
auth = [
    "memory:alice:hunter2",
    "anonymous",
]
profile = "drop-in"
grace = 2

[realm]
max = 2
conflict = "kick"
linger = 3

[profile]
raiseOnDead = false
"""


def limitOf(avatarId: str) -> int:
    """Return five for alice, one for other users."""
    return 5 if avatarId == "alice" else 1


class StaffRealm(LimitedRealm):
    """A realm whose limit is a function."""

    max = staticmethod(limitOf)


class FileTestCase(SynchronousTestCase):
    """A directory with a configuration file in it."""

    def setUp(self) -> None:
        """Create the directory."""
        self.directory = os.path.abspath(self.mktemp())
        os.mkdir(self.directory)

    def write(self, content: str | bytes, name: str = NAME) -> None:
        """Write a file there."""
        with open(os.path.join(self.directory, name), "wb") as f:
            f.write(content.encode("utf-8") if isinstance(content, str) else content)

    def plan(self, content: str | bytes, **flags: Any) -> Any:
        """Return the plan for a file and flags."""
        self.write(content)
        return Source(NAME, flags, self.directory).read(MemoryReactorClock())

    def errors(self, content: str | bytes, **flags: Any) -> list[str]:
        """Return the errors of a file and flags."""
        said = str(self.assertRaises(ConfigError, self.plan, content, **flags))
        self.assertNotIn("hunter2", said)
        return said.split("\n")


class BrokenTests(FileTestCase):
    """Invalid files."""

    def test_eachHasTheErrorsThatAPersonWouldHopeFor(self) -> None:
        """Each error is one line with file, line number, key and what is expected. All are reported together."""
        self.assertGreaterEqual(len(BROKEN), 50)
        for name, (content, said) in BROKEN.items():
            errors = self.errors(content)
            self.assertEqual(len(errors), len(said), (name, errors))
            for error, (line, parts) in zip(errors, said, strict=True):
                self.assertTrue(error.startswith(f"{NAME}:{line}: "), (name, error))
                for part in parts:
                    self.assertIn(part, error, name)

    def test_missingFileIsToldWithTheNearest(self) -> None:
        """The error for a missing file suggests a file with a similar name."""
        self.write("", "pbkit.toml")
        source = Source("pbkti.toml", {}, self.directory)
        said = str(self.assertRaises(ConfigError, source.read, MemoryReactorClock()))
        self.assertEqual(said, "cannot read config pbkti.toml: no such file, did you mean 'pbkit.toml'?")
        source = Source(os.path.join("nowhere", "x.toml"), {}, self.directory)
        said = str(self.assertRaises(ConfigError, source.read, MemoryReactorClock()))
        self.assertEqual(said, "cannot read config nowhere/x.toml: no such file")

    def test_whatCannotBeReadIsTold(self) -> None:
        """A directory, an impossible name and invalid UTF-8 are errors."""
        for name in [".", "a\0b"]:
            source = Source(name, {}, self.directory)
            self.assertIn("cannot read config", str(self.assertRaises(ConfigError, source.read, MemoryReactorClock())))
        self.assertEqual(self.errors(b"[server]\n# caf\xe9\n"), [f"{NAME}:2: invalid UTF-8: save the file as UTF-8"])

    def test_nestedTooDeepIsTold(self) -> None:
        """Nesting that is too deep is an error."""
        (said,) = self.errors("[realm]\nmax = " + "[" * 100_000 + "]" * 100_000)
        self.assertIn("nested too deep", said)

    def test_flagsAreToldWithTheFile(self) -> None:
        """Errors of flags and of the file are reported together. Those of flags have no line number."""
        errors = self.errors("[server]\nlisen = 1\n", realm="limted", grace="soon")
        self.assertEqual(len(errors), 3)
        self.assertIn("invalid grace: got 'soon', expected a number of seconds", errors[0])
        self.assertIn("unknown realm 'limted'", errors[1])
        self.assertTrue(errors[2].startswith(f"{NAME}:2: unknown key server.lisen"))

    @settings(max_examples=200, deadline=None)
    @given(
        st.dictionaries(
            st.sampled_from(["server", "realm", "profile", "x"]),
            st.dictionaries(
                st.sampled_from(["realm", "listen", "auth", "grace", "max", "linger", "anyMind", "name", "é x"]),
                st.sampled_from(
                    [
                        1,
                        -1.5,
                        True,
                        "",
                        "limited",
                        "tcp:1",
                        [],
                        ["x"],
                        [1],
                        {},
                        {"a": []},
                        "\0",
                        "a\nb",
                        "a.\nb",
                        "\x1b[0m",
                    ]
                ),
            ),
        )
    )
    def test_anythingIsAPlanOrErrorsWithLines(self, document: dict[str, dict[str, Any]]) -> None:
        """Any file either gives a plan or errors with file and line number."""
        lines = []
        for table, pairs in document.items():
            lines += [f"[{table}]", *(f"{tomlKey(name)} = {written(value)}" for name, value in pairs.items())]
        problems = Problems()
        try:
            config = combine(parseFile("\n".join(lines), NAME, problems), {}, problems)
            prepare(config, MemoryReactorClock(), problems)
        except ConfigError as e:
            for line in str(e).split("\n"):
                self.assertRegex(line, rf"^{NAME}:\d+: ")


def written(value: Any) -> str:
    """Return a value in TOML."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{tomlKey(name)} = {written(one)}" for name, one in value.items()) + "}"
    return tomlValue(value)


class RightTests(FileTestCase):
    """Valid files, and flags."""

    def test_everythingIsInThePlan(self) -> None:
        """Each key takes effect."""
        plan = self.plan(WHOLE)
        self.assertEqual((plan.realm.max, plan.realm.conflict, plan.realm.linger), (2, "kick", 3.0))
        self.assertEqual(plan.realm.avatarClass.__name__, "ClockAvatar")
        self.assertEqual([text for text, _ in plan.listen], ["tcp:1", "unix:x"])
        self.assertEqual(list(plan.checkers[0].users), [b"alice"])
        self.assertEqual(len(plan.checkers), 2)
        self.assertEqual(plan.profile, attrs.evolve(DROPIN, raiseOnDead=False))
        self.assertEqual(plan.config.grace, 2.0)

    def test_emptyFileMeansTheDefaults(self) -> None:
        """An empty file means the defaults, with any line ends."""
        for content in ["", "# nothing\r\n", "[server]\n[realm]\n[profile]\n"]:
            self.assertEqual(self.plan(content).config, ServerConfig())

    def test_aRealmThatCannotBeParsedIsOneError(self) -> None:
        """A description without a name is one error, not also an unknown realm."""
        self.assertEqual(len(self.errors("[server]\nrealm = ':max=3'\n")), 1)
        self.assertEqual(len(self.errors("", realm=":")), 1)

    def test_flagsTakePrecedence(self) -> None:
        """A flag replaces the whole setting of the file, and no other setting."""
        config = self.plan(WHOLE, listen=("tcp:5",), auth=("memory:bob:x",), profile="strict", grace="7").config
        self.assertEqual((config.listen, config.auth), (("tcp:5",), ("memory:bob:x",)))
        self.assertEqual((config.profile, config.grace), ("strict", 7.0))
        self.assertEqual((config.realm.name, dict(config.profileFields)), ("limited", {"raiseOnDead": False}))
        self.assertEqual(self.plan(WHOLE, avatar="pbkit.demo.DemoAvatar").realm.avatarClass.__name__, "DemoAvatar")

    def test_parametersOfAFlagAreAboveThoseOfTheFile(self) -> None:
        """Parameters of --realm join those of the file for the same realm, and replace them for another."""
        realm = self.plan(WHOLE, realm="limited:max=9").realm
        self.assertEqual((realm.max, realm.conflict), (9, "kick"))
        self.assertEqual(self.plan(WHOLE, realm="single").realm.conflict, "refuse")

    def test_parametersAreForTheRealmOfTheFlagIfTheFileNamesNone(self) -> None:
        """If the file names no realm, its parameters belong to the realm of the flag."""
        self.assertEqual(self.plan("[realm]\nmax = 8\n", realm="limited").realm.max, 8)

    def test_relativePathsStartWhereTheServerDid(self) -> None:
        """Relative paths start in the directory where the server was started."""
        self.write("alice:sesame\n", "passwd")
        (checker,) = self.plan("[server]\nauth = ['file:passwd']\n").checkers
        self.assertEqual(checker.filename, os.path.join(self.directory, "passwd"))

    def test_theDirectoryOfTheProcessIsLeftAlone(self) -> None:
        """Reading a file, valid or not, leaves the process in its directory."""
        here = os.getcwd()
        self.plan(WHOLE)
        self.errors("x")
        self.assertEqual(os.getcwd(), here)

    def test_kindsHaveWords(self) -> None:
        """Each TOML type has a name in error texts."""
        document = tomllib.loads("v = [true, 1, 1.5, 'x', [], {}, 2026-01-01, 10:00:00]")
        self.assertEqual(
            [typeName(value) for value in document["v"]],
            ["boolean", "integer", "number", "string", "array", "table", "date or time", "date or time"],
        )


class PrintedTests(FileTestCase):
    """`asToml`: the settings in force."""

    def test_saysWhereEachValueComesFrom(self) -> None:
        """Each value is followed by its origin: default, file and line, or flag."""
        lines = asToml(self.plan(WHOLE, realm="limited:max=9", listen=("tcp:5",))).splitlines()
        for line in [
            'realm = "limited"  # --realm',
            'avatar = "pbkit.sessions.clock.ClockAvatar"  # pbkit.toml:4',
            '    "tcp:5",  # --listen, with backlog 4096',
            '    "anonymous",  # pbkit.toml:8',
            'profile = "drop-in"  # pbkit.toml:10',
            "grace = 2.0  # pbkit.toml:11",
            "max = 9  # --realm",
            'conflict = "kick"  # pbkit.toml:15',
            "raiseOnDead = false  # pbkit.toml:19",
            "anyMind = true  # profile drop-in",
        ]:
            self.assertIn(line, lines)
        self.assertIn('realm = "caching"  # default', asToml(self.plan("")).splitlines())
        self.assertIn("max = 2  # pbkit.toml:2", asToml(self.plan("[server]\nrealm = 'limited:max=2'\n")).splitlines())

    def test_canBeLoadedAgain(self) -> None:
        """The output is a file with the same meaning, whose own output differs only in the origins."""
        self.write("alice:sesame\n", "passwd")
        content = WHOLE.replace("memory:alice:hunter2", "file:passwd")
        for text in [
            content,
            "",
            "[server]\nrealm = 'tests.serving.test_service.aRealm'\n",
            "[server]\nrealm = 'clock'\n",
            "[server]\nrealm = 'limited'\n[realm.max]\ndefault = 1\n'bob b' = 2\n[realm.conflict]\nalice = 'kick'\n",
        ]:
            first = self.plan(text)
            again = self.plan(asToml(first))
            self.assertEqual((again.profile, again.config.listen), (first.profile, first.config.listen))
            self.assertEqual((again.config.auth, again.config.grace), (first.config.auth, first.config.grace))
            self.assertEqual(tomllib.loads(asToml(again)), tomllib.loads(asToml(first)))
            self.assertEqual(describeRealm(again.realm), describeRealm(first.realm))

    def test_limitsByUser(self) -> None:
        """A table by user is shown on one line; a function is shown as a comment."""
        lines = asToml(self.plan("[server]\nrealm = 'limited'\n[realm.max]\n'bob b' = 2\n")).splitlines()
        self.assertIn('max = { default = 3, "bob b" = 2 }  # pbkit.toml:3', lines)
        lines = asToml(self.plan("[server]\nrealm = 'tests.config.test_file.StaffRealm'\n")).splitlines()
        self.assertIn("# max: a function of the avatar id, limitOf", lines)

    def test_portalIsShown(self) -> None:
        """A portal replaces realm and checkers, and the output can be loaded."""
        plan = self.plan("[server]\nportal = 'tests.serving.test_service.aPortal'\n")
        printed = asToml(plan)
        self.assertIn('portal = "tests.serving.test_service.aPortal"  # pbkit.toml:2\n', printed)
        self.assertIs(self.plan(printed).portal, plan.portal)

    def test_passwordsAreHidden(self) -> None:
        """Values that may contain a password are replaced by a placeholder, which is refused on loading."""
        printed = asToml(self.plan(WHOLE))
        self.assertNotIn("hunter2", printed)
        self.assertNotIn("alice", printed)
        (said,) = self.errors(printed)
        self.assertIn("expected the original description", said)

    def test_anythingCanBePrinted(self) -> None:
        """Strings with quotes, line ends and control characters are escaped correctly."""
        for text in ['a"b', "a\\b", "a\nb", "a\x7fb", "é\U0001f600", "# x", "\t\x01"]:
            self.assertEqual(tomllib.loads(f"x = {tomlValue(text)}")["x"], text)
            self.assertEqual(tomllib.loads(f"{tomlKey(text)} = 1"), {text: 1})
        self.assertEqual(tomllib.loads(f"{tomlKey('')} = 1"), {"": 1})

    def test_aStrangeNameOfAFileBreaksNoLine(self) -> None:
        """A line end in the file name does not end the comment that contains it."""
        self.write("[server]\ngrace = 3\n", "a\nx = 1")
        printed = asToml(Source("a\nx = 1", {}, self.directory).read(MemoryReactorClock()))
        self.assertEqual(tomllib.loads(printed)["server"]["grace"], 3.0)

    def test_defaultListenerIsShown(self) -> None:
        """The default listener is shown."""
        self.assertEqual(tomllib.loads(asToml(self.plan("")))["server"]["listen"], [DEFAULT_LISTEN])


class ExampleTests(SynchronousTestCase):
    """The files that the docs show."""

    def read(self, name: str) -> Any:
        """Return the plan of an example, loaded in its directory."""
        self.patch(sys, "path", [*sys.path, str(EXAMPLES)])
        return Source(name, {}, str(EXAMPLES)).read(MemoryReactorClock())

    def test_exampleIsRight(self) -> None:
        """The example means what its comments say."""
        plan = self.read("pbkit.toml")
        self.assertEqual((plan.realm.max, plan.realm.avatarClass.__module__), (2, "limited_server"))
        self.assertEqual([text for text, _ in plan.listen], [DEFAULT_LISTEN])
        self.assertEqual(list(plan.checkers[0].users), [b"alice", b"bob"])

    def test_defaultsOfTheExampleAreTheDefaults(self) -> None:
        """The defaults that it shows as comments are the defaults."""
        self.patch(sys, "path", [*sys.path, str(EXAMPLES)])
        text = (EXAMPLES / "pbkit.toml").read_text(encoding="utf-8")
        without = re.sub(r"^# (\w+ = )", r"\1", text, flags=re.M)
        self.assertEqual(len(without), len(text) - 2 * 7)
        plans = []
        for content in [text, without]:
            problems = Problems()
            config = combine(parseFile(content, NAME, problems), {}, problems)
            plans.append(prepare(config, MemoryReactorClock(), problems))
        self.assertEqual(plans[0].profile, plans[1].profile)
        self.assertEqual(describeRealm(plans[0].realm), describeRealm(plans[1].realm))
        self.assertEqual(plans[0].config.grace, plans[1].config.grace)
        self.assertEqual(plans[0].config.gc, plans[1].config.gc)

    def test_printedExampleIsWhatIsPrinted(self) -> None:
        """The docs show the real output of --print-config."""
        self.assertEqual(asToml(self.read("pbkit.toml")), (EXAMPLES / "printed.toml").read_text(encoding="utf-8"))

    def test_brokenExampleIsToldAsTheDocsShow(self) -> None:
        """The docs show the real output of --check-config."""
        said = str(self.assertRaises(ConfigError, self.read, "broken.toml"))
        self.assertEqual(said + "\n", (EXAMPLES / "broken.out").read_text(encoding="utf-8"))


@attrs.frozen
class Inner:
    """A table of a profile."""

    size: int = attrs.field(default=10, validator=attrs.validators.ge(1))
    seconds: float | None = None


@attrs.frozen
class Outer:
    """A profile."""

    name: str = "outer"
    flag: bool = False
    note: str = "x"
    inner: Inner = Inner()
    other: tuple[int, ...] = ()


class BoundsTests(SynchronousTestCase):
    """`pbkit.config.fields`: keys from the fields of a class."""

    def evolve(self, **given: Any) -> tuple[Outer, list[str]]:
        """Return a changed `Outer`, and the errors."""
        problems = Problems()
        made = withSettings(Outer(), given, ServerConfig(), problems, "profile")
        try:
            problems.check()
        except ConfigError as e:
            return made, str(e).split("\n")
        return made, []

    def test_everyFieldOfTheProfileCanBeSet(self) -> None:
        """A file can set every field of the profile, except its name."""
        self.assertEqual(set(settableFields(Profile)), {field.name for field in attrs.fields(Profile)} - {"name"})

    def test_fieldsAreSetByTheirTypes(self) -> None:
        """Simple fields, optional fields and nested fields are set. The preset is not modified."""
        made, said = self.evolve(flag=True, inner={"size": 5, "seconds": 2})
        self.assertEqual((made, said), (Outer(flag=True, inner=Inner(5, 2)), []))
        self.assertEqual(Outer().inner, Inner())

    def test_whatCannotBeIsTold(self) -> None:
        """Wrong types, values that the class rejects, and unknown keys are errors."""
        for given_, part in [
            ({"flag": 0}, "true or false"),
            ({"note": 1}, 'a string, for example note = "x"'),
            ({"inner": 1}, "expected a table, [profile.inner]"),
            ({"inner": {"size": 0}}, "invalid profile.inner.size: got 0"),
            ({"inner": {"size": True}}, "an integer"),
            ({"inner": {"seconds": "1"}}, "a number, for example seconds = 1.0"),
            ({"inner": {"seconds": float("inf")}}, "a number"),
            ({"inner": {"sise": 1}}, "did you mean 'size'? Keys of [profile.inner]: size, seconds"),
            ({"other": [1]}, "unknown"),
            ({"name": "x"}, "unknown"),
        ]:
            made, said = self.evolve(**given_)  # type: ignore[arg-type]
            self.assertEqual((made, len(said)), (Outer(), 1), given_)
            self.assertIn(part, said[0])

    def test_valuesAreListed(self) -> None:
        """Each simple value is listed with its path."""
        self.assertEqual(
            list(settingsOf(Outer(), "profile")),
            [(("profile", "flag"), False), (("profile", "note"), "x"), (("profile", "inner", "size"), 10)],
        )
        tables = [kinds[0] for kinds in settableFields(Profile).values() if attrs.has(kinds[0])]
        values = len(settableFields(Profile)) - len(tables) + sum(len(settableFields(table)) for table in tables)
        self.assertEqual(len(list(settingsOf(STRICT))), values)
        self.assertGreater(values, len(tables))

    def test_examplesAreToml(self) -> None:
        """Examples are valid TOML."""
        for value, kinds in [(None, (int,)), (None, (bool,)), ("x", (str,)), (1.5, (float,)), (False, (bool,))]:
            self.assertIsInstance(tomllib.loads(f"x = {exampleOf(value, kinds)}")["x"], kinds)

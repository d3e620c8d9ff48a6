"""The parameters of realms."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, LimitedRealm, Realm, errors
from pbkit.sessions.parameters import Parameter, bind, forUser, param, parametersOf
from tests.support import Recorder


class Sample:
    """A class with one parameter of each kind."""

    count: int = param(3, "how many", minimum=1)
    wait: float = param(1.5, "how long, in seconds", minimum=0)
    mode: str = param("slow", "how", choices=("slow", "fast"))
    title: str = param("x", "a text")


class Derived(Sample):
    """A subclass with another default and one more parameter."""

    count = 5
    extra: int = param(0, "something more")


class ParseTests(SynchronousTestCase):
    """From the text on a command line to a value."""

    def parse(self, name: str, text: str) -> object:
        """Parse a text as `Sample`'s parameter."""
        return parametersOf(Sample)[name].parse(text)

    def test_eachTypeIsParsed(self) -> None:
        """A text becomes a value of the type of the default."""
        self.assertEqual(self.parse("count", "7"), 7)
        self.assertEqual(self.parse("wait", "0"), 0.0)
        self.assertIsInstance(self.parse("wait", "0"), float)
        self.assertEqual(self.parse("mode", "fast"), "fast")
        self.assertEqual(self.parse("title", ""), "")

    def test_wrongTypeSaysWhatIsRight(self) -> None:
        """A text of the wrong type is a ConfigError with the key, the text, and what is expected."""
        error = self.assertRaises(errors.ConfigError, self.parse, "count", "many")
        self.assertEqual(
            str(error), "invalid count: got 'many', expected an integer of at least 1, for example count=3"
        )
        self.assertRaises(errors.ConfigError, self.parse, "count", "2.5")

    def test_tooLittleSaysTheLeast(self) -> None:
        """A number below the minimum is a ConfigError with the minimum."""
        error = self.assertRaises(errors.ConfigError, self.parse, "count", "0")
        self.assertIn("at least 1", str(error))
        self.assertRaises(errors.ConfigError, self.parse, "wait", "-0.1")

    def test_notAFiniteNumber(self) -> None:
        """ "nan" and "inf" are not accepted as a time."""
        for text in ("nan", "inf", "-inf", "1e999"):
            self.assertRaises(errors.ConfigError, self.parse, "wait", text)

    def test_choicesAreNamed(self) -> None:
        """A value that is not among the choices is a ConfigError with the choices."""
        error = self.assertRaises(errors.ConfigError, self.parse, "mode", "medium")
        self.assertEqual(
            str(error), "invalid mode: got 'medium' (string), expected one of slow, fast, for example mode = \"slow\""
        )

    def test_hugeNumberIsNoCrash(self) -> None:
        """A number of 400 digits is a value or a ConfigError."""
        for name in ("count", "wait"):
            try:
                self.parse(name, "9" * 400)
            except errors.ConfigError:
                pass

    @settings(derandomize=True, database=None, deadline=None, max_examples=200)
    @given(st.sampled_from(["count", "wait", "mode", "title"]), st.text())
    def test_anyTextIsAValueOrAConfigError(self, name: str, text: str) -> None:
        """Any text is a value that the parameter accepts, or a ConfigError."""
        parameter = parametersOf(Sample)[name]
        try:
            value = parameter.parse(text)
        except errors.ConfigError as error:
            self.assertIn(f"invalid {name}: ", str(error))
        else:
            self.assertEqual(parameter.check(value), value)
            self.assertIs(type(value), parameter.type)


class ParametersOfTests(SynchronousTestCase):
    """The parameters of a class."""

    def test_inOrderOfDeclaration(self) -> None:
        """The parameters of the base class come first, in order of declaration."""
        self.assertEqual(list(parametersOf(Derived)), ["count", "wait", "mode", "title", "extra"])

    def test_subclassGivesAnotherDefault(self) -> None:
        """A plain value in a subclass is its default; the base class keeps its own."""
        self.assertEqual(parametersOf(Derived)["count"].default, 5)
        self.assertEqual(parametersOf(Sample)["count"].default, 3)
        self.assertEqual(parametersOf(Derived)["count"].doc, "how many")

    def test_subclassGivesAWrongDefault(self) -> None:
        """An invalid default is a ConfigError."""

        class Wrong(Sample):
            """A class with too small a default."""

            count = 0

        self.assertRaises(errors.ConfigError, parametersOf, Wrong)

    def test_classWithoutAny(self) -> None:
        """A class without declarations has no parameters; what every realm has is declared by the base class of all."""

        class Plain:
            """A class without parameters."""

        self.assertEqual(parametersOf(Plain), {})
        self.assertEqual(list(parametersOf(Realm)), ["goodbye", "idleTimeout", "maxSessionAge"])

    def test_redeclared(self) -> None:
        """A parameter that a subclass declares again replaces that of the base class."""

        class Again(Sample):
            """A class that declares a string in place of an integer."""

            count: str = param("few", "how many")  # type: ignore[assignment]

        self.assertIs(parametersOf(Again)["count"].type, str)

    def test_itIsAParameter(self) -> None:
        """What `param` leaves in the class is a `Parameter` with its name."""
        self.assertEqual(Sample.__dict__["wait"].name, "wait")
        self.assertIsInstance(Sample.__dict__["wait"], Parameter)


class BindTests(SynchronousTestCase):
    """From values to attributes of a realm."""

    def test_givenOrDefault(self) -> None:
        """A value that is given is set; the others get their defaults."""
        sample = Derived()
        bind(sample, {"wait": 2, "mode": "fast"})
        self.assertEqual((sample.count, sample.wait, sample.mode, sample.title, sample.extra), (5, 2.0, "fast", "x", 0))

    def test_unknownNameNamesThoseThereAre(self) -> None:
        """An unknown name is a ConfigError with the known names."""
        error = self.assertRaises(errors.ConfigError, LimitedRealm, Recorder, maximum=3)
        self.assertEqual(
            str(error),
            "unknown parameter 'maximum' of LimitedRealm. Parameters: goodbye, idleTimeout, maxSessionAge, "
            "linger, max, conflict, handover",
        )

        class Plain:
            """A class without parameters."""

        self.assertIn("Parameters: none", str(self.assertRaises(errors.ConfigError, bind, Plain(), {"max": 3})))

    def test_byUser(self) -> None:
        """
        A parameter that may depend on the user takes a table, whose default is for all other users, or a function.
        """
        realm = LimitedRealm(Recorder, max={"alice": 5}, conflict={"default": "kick", "bob": "probe"})
        self.assertEqual(realm.max, {"default": 3, "alice": 5})
        self.assertEqual([forUser(realm.max, name) for name in ("alice", "bob")], [5, 3])
        self.assertEqual([forUser(realm.conflict, name) for name in ("alice", "bob")], ["kick", "probe"])
        self.assertEqual(forUser(LimitedRealm(Recorder, max=len).max, "alice"), 5)
        self.assertEqual(forUser(7, "alice"), 7)

    def test_byUserInASubclass(self) -> None:
        """The default of a subclass may be a table, to which a table that is given is added."""

        class StaffRealm(LimitedRealm):
            """A realm with a limit of five for staff."""

            max = {"default": 1, "alice": 5}

        self.assertEqual(StaffRealm(Recorder).max, {"default": 1, "alice": 5})
        self.assertEqual(StaffRealm(Recorder, max={"bob": 2}).max, {"default": 1, "bob": 2})
        self.assertEqual(StaffRealm(Recorder, max=2).max, 2)
        self.assertEqual(parametersOf(StaffRealm)["max"].parse("4"), 4)

    def test_byUserThatCannotBe(self) -> None:
        """Each value of a table is checked, and other parameters take no table."""
        odd: Any
        for odd in ({"alice": 0}, {"default": "3"}, {1: 1}, {"alice": None}):
            self.assertRaises(errors.ConfigError, LimitedRealm, Recorder, max=odd)
        error = self.assertRaises(errors.ConfigError, LimitedRealm, Recorder, max={"alice": 0})
        self.assertIn("invalid max.alice: got 0 (integer), expected an integer of at least 1, or a table", str(error))
        error = self.assertRaises(errors.ConfigError, LimitedRealm, Recorder, conflict={"alice": "Kick"})
        self.assertIn("invalid conflict.alice: got 'Kick' (string), expected one of refuse, kick, probe", str(error))
        for odd in ({"alice": 1.0}, lambda avatarId: 1.0):
            self.assertRaises(errors.ConfigError, LimitedRealm, Recorder, linger=odd)

    def test_valuesOfTheWrongType(self) -> None:
        """
        A boolean is not an integer, a float is not an integer, and a string is not a number: each is a ConfigError.
        """
        for value in (True, 2.0, "2", None, 0):
            self.assertRaises(errors.ConfigError, LimitedRealm, Recorder, max=value)
        for wait in (True, "1", None, -1.0, float("nan")):
            self.assertRaises(errors.ConfigError, CachingRealm, Recorder, linger=wait)
        self.assertEqual(CachingRealm(Recorder, linger=2).linger, 2.0)

"""What a realm can be told."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pbkit import CachingRealm, LimitedRealm, Realm, errors
from pbkit.sessions.parameters import Parameter, bind, forUser, param, parametersOf
from tests.support import Recorder


class Sample:
    """Declares one parameter of each kind."""

    count: int = param(3, "how many", minimum=1)
    wait: float = param(1.5, "how long, in seconds", minimum=0)
    mode: str = param("slow", "how", choices=("slow", "fast"))
    title: str = param("x", "a text")


class Derived(Sample):
    """Has another default, and a parameter more."""

    count = 5
    extra: int = param(0, "something more")


class ParseTests(SynchronousTestCase):
    """From the text of a command line to a value."""

    def parse(self, name: str, text: str) -> object:
        """The value, by `Sample`'s parameter."""
        return parametersOf(Sample)[name].parse(text)

    def test_eachTypeIsParsed(self) -> None:
        """A text becomes a value of the default's type."""
        self.assertEqual(self.parse("count", "7"), 7)
        self.assertEqual(self.parse("wait", "0"), 0.0)
        self.assertIsInstance(self.parse("wait", "0"), float)
        self.assertEqual(self.parse("mode", "fast"), "fast")
        self.assertEqual(self.parse("title", ""), "")

    def test_wrongTypeSaysWhatIsRight(self) -> None:
        """A text of the wrong kind is a ConfigError with the key, the text, and what would be right."""
        error = self.assertRaises(errors.ConfigError, self.parse, "count", "many")
        self.assertEqual(
            str(error), "invalid count: got 'many', expected an integer of at least 1, for example count=3"
        )
        self.assertRaises(errors.ConfigError, self.parse, "count", "2.5")

    def test_tooLittleSaysTheLeast(self) -> None:
        """A number below the minimum is a ConfigError that says the minimum."""
        error = self.assertRaises(errors.ConfigError, self.parse, "count", "0")
        self.assertIn("at least 1", str(error))
        self.assertRaises(errors.ConfigError, self.parse, "wait", "-0.1")

    def test_notAFiniteNumber(self) -> None:
        """Neither "nan" nor "inf" is a time to wait."""
        for text in ("nan", "inf", "-inf", "1e999"):
            self.assertRaises(errors.ConfigError, self.parse, "wait", text)

    def test_choicesAreNamed(self) -> None:
        """A value that is no choice is a ConfigError that names the choices."""
        error = self.assertRaises(errors.ConfigError, self.parse, "mode", "medium")
        self.assertEqual(
            str(error), "invalid mode: got 'medium' (string), expected one of slow, fast, for example mode = \"slow\""
        )

    def test_hugeNumberIsNoCrash(self) -> None:
        """A number of 400 digits is a value or a ConfigError, as it may be, and nothing else."""
        for name in ("count", "wait"):
            try:
                self.parse(name, "9" * 400)
            except errors.ConfigError:
                pass

    @settings(derandomize=True, database=None, deadline=None, max_examples=200)
    @given(st.sampled_from(["count", "wait", "mode", "title"]), st.text())
    def test_anyTextIsAValueOrAConfigError(self, name: str, text: str) -> None:
        """Whatever is typed gives a value that the parameter itself accepts, or a ConfigError."""
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
        """The base class' come first, each in order of declaration."""
        self.assertEqual(list(parametersOf(Derived)), ["count", "wait", "mode", "title", "extra"])

    def test_subclassGivesAnotherDefault(self) -> None:
        """A plain value in a subclass is its default; the base class keeps its own."""
        self.assertEqual(parametersOf(Derived)["count"].default, 5)
        self.assertEqual(parametersOf(Sample)["count"].default, 3)
        self.assertEqual(parametersOf(Derived)["count"].doc, "how many")

    def test_subclassGivesAWrongDefault(self) -> None:
        """A default that cannot be is a ConfigError."""

        class Wrong(Sample):
            """Has too small a default."""

            count = 0

        self.assertRaises(errors.ConfigError, parametersOf, Wrong)

    def test_classWithoutAny(self) -> None:
        """A class that declares none has none; what every realm has is declared by the base of all."""

        class Plain:
            """Declares none."""

        self.assertEqual(parametersOf(Plain), {})
        self.assertEqual(list(parametersOf(Realm)), ["goodbye", "idleTimeout", "maxSessionAge"])

    def test_redeclared(self) -> None:
        """A subclass that declares a parameter anew has that one."""

        class Again(Sample):
            """Takes text for a count."""

            count: str = param("few", "how many")  # type: ignore[assignment]

        self.assertIs(parametersOf(Again)["count"].type, str)

    def test_itIsAParameter(self) -> None:
        """What `param` leaves in the class is a `Parameter` that knows its name."""
        self.assertEqual(Sample.__dict__["wait"].name, "wait")
        self.assertIsInstance(Sample.__dict__["wait"], Parameter)


class BindTests(SynchronousTestCase):
    """From values to attributes of a realm."""

    def test_givenOrDefault(self) -> None:
        """What is given is set; what is not has its default."""
        sample = Derived()
        bind(sample, {"wait": 2, "mode": "fast"})
        self.assertEqual((sample.count, sample.wait, sample.mode, sample.title, sample.extra), (5, 2.0, "fast", "x", 0))

    def test_unknownNameNamesThoseThereAre(self) -> None:
        """An unknown name is a ConfigError with the names that there are."""
        error = self.assertRaises(errors.ConfigError, LimitedRealm, Recorder, maximum=3)
        self.assertEqual(
            str(error),
            "unknown parameter 'maximum' of LimitedRealm. Parameters: goodbye, idleTimeout, maxSessionAge, "
            "linger, max, conflict, handover",
        )

        class Plain:
            """Declares none."""

        self.assertIn("Parameters: none", str(self.assertRaises(errors.ConfigError, bind, Plain(), {"max": 3})))

    def test_byUser(self) -> None:
        """One that may differ by user takes a table, in which the default holds for who is not named, or a function."""
        realm = LimitedRealm(Recorder, max={"alice": 5}, conflict={"default": "kick", "bob": "probe"})
        self.assertEqual(realm.max, {"default": 3, "alice": 5})
        self.assertEqual([forUser(realm.max, name) for name in ("alice", "bob")], [5, 3])
        self.assertEqual([forUser(realm.conflict, name) for name in ("alice", "bob")], ["kick", "probe"])
        self.assertEqual(forUser(LimitedRealm(Recorder, max=len).max, "alice"), 5)
        self.assertEqual(forUser(7, "alice"), 7)

    def test_byUserInASubclass(self) -> None:
        """A subclass may have a table for its default, which what is given is added to."""

        class StaffRealm(LimitedRealm):
            """Five for staff."""

            max = {"default": 1, "alice": 5}

        self.assertEqual(StaffRealm(Recorder).max, {"default": 1, "alice": 5})
        self.assertEqual(StaffRealm(Recorder, max={"bob": 2}).max, {"default": 1, "bob": 2})
        self.assertEqual(StaffRealm(Recorder, max=2).max, 2)
        self.assertEqual(parametersOf(StaffRealm)["max"].parse("4"), 4)

    def test_byUserThatCannotBe(self) -> None:
        """Each value of a table is looked at, and others take none."""
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
        """A bool is no number, a float no count, a text no number: ConfigError, not a surprise later."""
        for value in (True, 2.0, "2", None, 0):
            self.assertRaises(errors.ConfigError, LimitedRealm, Recorder, max=value)
        for wait in (True, "1", None, -1.0, float("nan")):
            self.assertRaises(errors.ConfigError, CachingRealm, Recorder, linger=wait)
        self.assertEqual(CachingRealm(Recorder, linger=2).linger, 2.0)

"""The compiled codec as a module: repeated imports, other interpreters, a small stack, and the garbage collector."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import skipIf

from twisted.trial.unittest import SynchronousTestCase

from pbkit.errors import Malformed
from pbkit.wire.codec import hashflood, pure
from tests.wire.stockwire import stockBytes

ROOT = Path(__file__).parents[3]
NAME = "pbkit.wire.codec._codec"

try:
    core: Any = importlib.import_module(NAME)
except ImportError:
    core = None


def imported() -> ModuleType:
    """Import the compiled codec once more."""
    loader = ExtensionFileLoader(NAME, core.__file__)
    spec = importlib.util.spec_from_loader(NAME, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@skipIf(core is None, "the compiled codec was not built")
class CoreTests(SynchronousTestCase):
    """Errors that only C code can have. Tests that may crash run in a process of their own."""

    def runs(self, script: str) -> str:
        """Run a script, and return what it prints."""
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, capture_output=True, text=True, timeout=120
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout

    def test_importedAgain(self) -> None:
        """Each of several imports works, and does not affect the others."""
        modules: list[Any] = [core, *(imported() for _ in range(5))]
        value = [{"list": b"tuple", "None": [None]}, 2**70, (1, (1,))]
        data = pure.encodeAnswer(1, value, True, 1000)
        for _ in range(2):
            for module in modules:
                self.assertEqual(module.encodeAnswer(1, value, True, 1000), data)
                self.assertEqual(module.decodePlain(data), ("answer", 1, value))
                framer = module.Framer(10, 10, 10, 10)
                framer.feed(b"\xff")
                self.assertRaises(Malformed, framer.next)
        self.assertEqual(len({module.Framer for module in modules}), 6)

    def test_forgotten(self) -> None:
        """The state of an import is released with the module."""
        import gc
        import weakref

        framer = weakref.ref(imported().Framer)
        gc.collect()
        self.assertIsNone(framer())

    def test_interpreters(self) -> None:
        """In another interpreter the codec raises that interpreter's errors, or the pure Python codec is used."""
        printed = self.runs(
            """
            import sys
            try:
                import _interpreters as interpreters
            except ImportError:
                import _xxsubinterpreters as interpreters
            import pbkit.wire.codec
            script = r'''
            from pbkit.errors import Malformed, TooLarge
            from pbkit.wire import codec
            for stream, kind in ((b"\\xff", Malformed), (b"\\x7f" * 70, TooLarge)):
                framer = codec.Framer(100, 100, 100, 100)
                framer.feed(stream)
                try:
                    framer.next()
                except kind:
                    pass
            assert codec.decodePlain(codec.encodeAnswer(1, ["a", None], True, 100)) == ("answer", 1, ["a", None])
            '''
            import textwrap
            for _ in range(3):
                other = interpreters.create()
                try:
                    interpreters.run_string(other, textwrap.dedent(script))
                except Exception as error:
                    # What Twisted needs may not work in an interpreter of its own.
                    assert "pbkit" not in str(error) and "Malformed" not in str(error), error
                    print("not here:", error)
                interpreters.destroy(other)
            exec(textwrap.dedent(script))
            print("ok")
            """
        )
        self.assertTrue(printed.endswith("ok\n"), printed)

    def test_seenByTheCollector(self) -> None:
        """A traversal of all objects while a message is read finds no incomplete container."""
        self.runs(
            """
            import gc
            from pbkit.wire.codec import _codec as codec
            value = [[{"a": [n], "b": (n, [n])} for n in range(60)], ([], [1], {1: [2]}), frozenset([(1, (2,))])]
            data = codec.encodeAnswer(1, value, True, 1000)
            looked = 0

            def look(phase, info):
                global looked
                for each in gc.get_objects():
                    if type(each) in (list, tuple, dict, set, frozenset):
                        looked += len(list(each))

            gc.callbacks.append(look)
            gc.set_threshold(20, 1, 1)
            for _ in range(3):
                assert codec.decodePlain(data) == ("answer", 1, value)
                codec.decode(data)
            assert looked
            """
        )

    def test_smallStack(self) -> None:
        """A thread with a stack of 64 KiB can read and write the deepest allowed message."""
        self.runs(
            """
            import threading
            from pbkit.wire.codec import _codec as codec, pure

            def nested(wrap):
                value = wrap(1)
                for _ in range(pure.MAX_DEPTH - 1):
                    value = wrap(value)
                return value

            values = [nested(wrap) for wrap in (
                lambda value: [value], lambda value: (value,), lambda value: {"a": value},
                lambda value: frozenset([value]),
            )]

            def run():
                for value in values:
                    data = codec.encodeAnswer(1, value, True, 1000)
                    done.append(data is not None and codec.decodePlain(data) == ("answer", 1, value))
                    codec.encodeAnswer(1, [value, value], True, 1000)
                    codec.encode(codec.decode(data), True, 1000)

            done = []
            threading.stack_size(65536)
            thread = threading.Thread(target=run)
            thread.start()
            thread.join()
            assert done == [True] * 4, done
            """
        )

    def test_limits(self) -> None:
        """The limits are those of the pure Python codec."""
        self.patch(pure, "MAX_DEPTH", 5)
        self.patch(pure, "MAX_PREFIX", 20)
        self.patch(pure, "MAX_ITEMS", 50)
        self.patch(hashflood, "COLLISIONS", 3)
        module: Any = imported()
        for each in (module, pure):
            for depth, fits in ((5, True), (6, False)):
                value: Any = 1
                for _ in range(depth):
                    value = [value]
                self.assertEqual(each.encodePlain(value, True, 100) is not None or each is pure, fits or each is pure)
                self.assertEqual(each.decodePlain(core.encodeAnswer(1, value, True, 100)) is not None, fits)
            for digits, fits in ((20, True), (21, False)):
                data = b"\x03\x80\x1b\x87\x01\x81" + b"\x01" * digits + b"\x85"
                self.assertEqual(each.decodePlain(data) is not None, fits)
            shared = [0] * 20
            for times, fits in ((2, True), (3, False)):
                data = core.encodeAnswer(1, [shared] * times, True, 100)
                # The default of a parameter was fixed when the module was made.
                found = each.decodePlain(data) if each is module else each.decodePlain(data, True, 50)
                self.assertEqual(found is not None, fits)
        self.assertFalse(module.crowded([k * (2**61 - 1) for k in range(4)], True))
        self.assertTrue(module.crowded([k * (2**61 - 1) for k in range(5)], True))
        self.patch(pure, "MAX_PREFIX", 7)
        self.assertRaises(ImportError, imported)

    def test_vocabulary(self) -> None:
        """With a vocabulary other than Banana's, the compiled codec is not used."""
        for words in ({1: b"None"}, {**pure.WORDS, 26: b"mess"}, {**pure.WORDS, 99: b"more"}, {1: "None"}, 5):
            self.patch(pure, "WORDS", words)
            self.assertRaises((ImportError, TypeError), imported)


@skipIf(core is None, "the compiled codec was not built")
class ParityTests(SynchronousTestCase):
    """Input that one of the codecs once accepted and the other refused."""

    def test_padded(self) -> None:
        """Numbers that are too long, and padded lengths and words, are left to the slow path."""
        head = b"\x03\x80\x1b\x87\x01\x81"
        for data in (
            head + b"\x01" * 65 + b"\x85",
            head + b"\x00" * 65 + b"\x81",
            head + b"\x02\x80\x08" + b"\x00" * 64 + b"\x87\x01\x81",
            head + b"\x02\x80\x07\x82unicode\x01" + b"\x00" * 64 + b"\x82a",
            b"\x03\x00\x80\x1b\x87\x01\x81\x01\x81",
            b"\x03\x80\x1b\x00\x87\x01\x81\x01\x81",
            b"\x07\x80\x1a\x00\x87\x01\x81\x01\x81\x01\x82x\x01\x81\x01\x80\x0b\x87\x01\x80\x05\x87",
            head + b"\x02\x80\x05\x87\x02\x00\x80\x01\x81\x01\x81",
        ):
            for each in (core, pure):
                self.assertIsNone(each.decodePlain(data), data)
        for data in (head + b"\x01" * 64 + b"\x85", head + b"\x02\x80\x08" + b"\x00" * 63 + b"\x87\x01\x81"):
            self.assertEqual(core.decodePlain(data), pure.decodePlain(data))
            self.assertIsNotNone(core.decodePlain(data))

    def test_names(self) -> None:
        """A method name is text or bytes, not a number."""
        for name in (5, None, 1.5, True, ["x"]):
            for each in (core, pure):
                self.assertIsNone(each.encodeCall(b"", 1, 2, name, 1, (), {}, True, 100))
                self.assertIsNone(each.encodeTail(name, 1, (), {}, True, 100))
        data = stockBytes([b"message", 1, 2, 5, 1, [b"tuple"], [b"dictionary"]])
        for each in (core, pure):
            self.assertIsNone(each.decodePlain(data))

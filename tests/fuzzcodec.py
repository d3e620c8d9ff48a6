"""
Fuzz the codecs: whatever they are given, the compiled one does the same as the one in Python.

::

    python -m tests.fuzzcodec --seconds 60 [--seed N] [--plain]

If there is a C compiler with the address and undefined-behaviour sanitizers, the core is built with them, and the
fuzzer runs in a process of its own that ends at the first fault. Otherwise, and with ``--plain``, it runs on the core
that was built with pbkit. A case that differs is printed, with the seed that repeats it. The exit status is then 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path
from typing import Any

from twisted.spread.banana import BananaError
from twisted.spread.jelly import globalSecurity, jelly, unjelly

from pbkit.wire.codec import pure
from pbkit.wire.codec.hashflood import crowded
from tests.wire.stockwire import ATOMS, WORDS, shape, stockExpression

ROOT = Path(__file__).parents[1]
NAME = "pbkit.wire.codec._codec"
#: Set for the process that fuzzes: the extension module that it loads.
CORE = "PBKIT_FUZZED_CORE"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1")
#: So many cases follow from one seed. It is printed, and repeats them.
ROUND = 200


class Difference(Exception):
    """What one codec does and the other does not."""


# Cases.

_EDGES = [0, 1, 127, 128, 16383, 16384, 2**21, 2**28, 2**31, 2**35, 2**56, 2**63, 2**64, 2**448, 2**61 - 1]
_FLOATS = [0.0, -0.0, 1.5, float("inf"), float("-inf"), float("nan"), 1e-310]
_TYPES = bytes(range(0x80, 0x88))


class Maker:
    """
    Makes values, expressions and bytes.

    :param rng: what they follow from.
    """

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._made: list[Any] = []

    def integer(self) -> int:
        """A number at an edge, or any."""
        rng = self.rng
        number = rng.choice(_EDGES) + rng.randrange(-2, 3) if rng.random() < 0.5 else rng.randrange(-300, 20_000)
        return -number if rng.random() < 0.2 else number

    def text(self) -> str:
        """A text, sometimes one that no UTF-8 is made of."""
        rng = self.rng
        if rng.random() < 0.2:
            return rng.choice([*WORDS, *ATOMS]).decode()
        letters = rng.choice(["abc", "abü", "aé\U0001f600", "ab\ud800"] if rng.random() < 0.3 else ["abcdefgh"])
        return "".join(rng.choices(letters, k=rng.choice([0, 1, 5, 31, 32, 33, 41, 127, 128, 300])))

    def leaf(self) -> Any:
        """Something without parts."""
        rng = self.rng
        kind = rng.randrange(10)
        if kind < 4:
            return self.integer()
        if kind < 6:
            return self.text()
        if kind == 6:
            return rng.choice(_FLOATS)
        if kind == 7:
            return rng.choice([None, True, False])
        return rng.choice([*WORDS, *ATOMS]) if kind == 8 else self.text().encode("utf-8", "replace")

    def value(self, depth: int = 5) -> Any:
        """A plain value. Parts of it may come again, and may hold themselves."""
        rng = self.rng
        if depth == 0 or rng.random() < 0.4:
            return self.leaf()
        if self._made and rng.random() < 0.15:
            return rng.choice(self._made)
        kind, size = rng.randrange(8), rng.choice([0, 1, 2, 3, 8, 20]) if depth > 2 else rng.randrange(4)
        if rng.random() < 0.02:
            return [*range(rng.randrange(300))]
        found: Any
        if kind < 3:
            found = [self.value(depth - 1) for _ in range(size)]
        elif kind < 5:
            found = tuple(self.value(depth - 1) for _ in range(size))
        elif kind < 7:
            found = {self.key(): self.value(depth - 1) for _ in range(size)}
        else:
            found = rng.choice([set, frozenset])(self.key() for _ in range(size))
        if type(found) is list and rng.random() < 0.02:
            found.append(found)
        if len(self._made) < 50:
            self._made.append(found)
        return found

    def key(self) -> Any:
        """What can be a key."""
        rng = self.rng
        if rng.random() < 0.1:
            return tuple(self.key() for _ in range(rng.randrange(3)))
        return self.text() if rng.random() < 0.5 else self.leaf()

    def deep(self) -> Any:
        """Something that is as deep as is allowed, or deeper."""
        found: Any = self.leaf()
        wraps: list[Callable[[Any], Any]] = [lambda v: [v], lambda v: (v,), lambda v: {"a": v}, lambda v: [v, v]]
        wrap = self.rng.choice(wraps)
        for _ in range(self.rng.choice([5, 60, 126, 127, 128, 129, 200])):
            found = wrap(found)
        return found

    def jelly(self, depth: int = 5) -> Any:
        """An expression that is nearly what jelly makes."""
        rng = self.rng
        if depth == 0 or rng.random() < 0.35:
            return rng.choice([self.integer(), rng.choice([*WORDS, *ATOMS]), rng.choice(_FLOATS), b"text"])
        word = rng.choice([*ATOMS, b"list", b"tuple", b"dictionary", b"None", b"reference", b"dereference", b"list"])
        count = rng.randrange(5)
        if word == b"unicode":
            return [word, self.text().encode("utf-8", "replace")]
        if word == b"dictionary" and rng.random() < 0.8:
            return [word, *([self.jelly(depth - 1), self.jelly(depth - 1)] for _ in range(count))]
        if word == b"reference" and rng.random() < 0.9:
            return [word, rng.randrange(4), [rng.choice([b"list", b"tuple"]), self.jelly(depth - 1), 1]]
        if word == b"dereference" and rng.random() < 0.9:
            return [word, rng.randrange(4)]
        return [word, *(self.jelly(depth - 1) for _ in range(count))]

    def call(self) -> tuple[Any, ...]:
        """What a call is made of."""
        rng = self.rng
        name = rng.choice([self.text(), b"name", b"list", "é", 5] if rng.random() < 0.2 else ["name"])
        args = self.value()
        kw = {self.key(): self.value(2) for _ in range(rng.randrange(3))} if rng.random() < 0.3 else {}
        ids = [self.integer() if rng.random() < 0.7 else self.leaf() for _ in range(2)]
        return (*ids, name, rng.choice([0, 1, True, False, self.leaf()]), args if type(args) is tuple else (args,), kw)

    def stream(self) -> bytes:
        """Messages, right or nearly."""
        rng = self.rng
        data = b""
        codec: Any = pure
        for _ in range(rng.randrange(1, 4)):
            words = rng.random() < 0.8
            kind = rng.randrange(6)
            made: bytes | None = None
            if kind == 0:
                made = codec.encodeCall(b"", *self.call(), words, 1000)
            elif kind == 1:
                made = pure.encodeAnswer(self.integer(), self.value(), words, 1000)
            elif kind == 2:
                made = pure.encodeAnswer(1, self.deep(), words, 1000)
            else:
                head: list[Any] = [b"answer", 1]
                if rng.random() < 0.5:
                    head = [b"message", 1, 2, b"name", 1, [b"tuple", self.jelly(2)]]
                made = written([*head, self.jelly() if rng.random() < 0.8 else [b"dictionary"]], words)
            data += made or b""
        return self.mangled(data) if rng.random() < 0.7 else data

    def mangled(self, data: bytes) -> bytes:
        """With some bytes changed, cut, doubled or added."""
        rng, found = self.rng, bytearray(data)
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            at = rng.randrange(len(found) + 1)
            kind = rng.randrange(6)
            if kind == 0 and at < len(found):
                found[at] = rng.choice([rng.randrange(256), *_TYPES])
            elif kind == 1:
                del found[at : at + rng.randrange(1, 5)]
            elif kind == 2:
                found[at:at] = rng.choice(
                    [bytes(rng.choices(_TYPES, k=1)), b"\x00", b"\x00" * 70, b"\x7f" * 9, b"\x01\x80", b"\x02\x80"]
                )
            elif kind == 3:
                found[at:at] = found[at : at + rng.randrange(20)]
            elif kind == 4:
                del found[at:]
            elif at < len(found):
                found[at] ^= 1 << rng.randrange(8)
        return bytes(found)


def written(expression: Any, words: bool) -> bytes:
    """An expression as stock's Banana writes it, or nothing."""
    try:
        return pure.encode(expression, words, 1000)
    except BananaError:
        return b""


# What is compared.


def same(what: str, one: Any, other: Any, *given: object) -> None:
    """Raise `Difference` unless both are the same."""
    if one != other:
        shown = ", ".join(repr(each)[:2000] for each in given)
        raise Difference(f"{what}({shown}): in Python {one!r:.500}, compiled {other!r:.500}")


def outcome(f: Callable[..., Any], *args: Any) -> Any:
    """What a function returns or raises."""
    try:
        return f(*args)
    except (ValueError, TypeError, RecursionError, BananaError) as error:
        return type(error)


def reading(core: Any, make: Maker) -> None:
    """`Framer`, `decode` and `decodePlain`."""
    rng, data = make.rng, make.stream()
    limits = [rng.choice([1 << 20, 3000, 100]), rng.choice([1 << 20, 500, 30]), rng.choice([1000, 100, 10, 3])]
    limits += [rng.choice([1 << 20, 200, 20]), rng.choice([64, 64, 10, 3])]
    framers = [pure.Framer(*limits), core.Framer(*limits)]
    words, items = rng.random() < 0.8, rng.choice([4_000_000, 1000, 50, 5])
    at = 0
    while at < len(data):
        chunk = data[at : at + rng.choice([1, 3, 10, 100, 10_000])]
        at += len(chunk)
        if rng.random() < 0.05:
            other = [*limits[:3], rng.choice([10, 300]), limits[4]]
            for framer in framers:
                framer.limit(*other)
        for framer in framers:
            framer.feed(chunk)
        while True:
            found = [outcome(framer.next) for framer in framers]
            same("Framer.next", *found, limits, data)
            same("Framer.held", *(framer.held for framer in framers), limits, data)
            if type(found[0]) is not bytes:
                break
            for codec, message in zip((pure, core), found, strict=True):
                framed(codec, message, words, items)
            read(core, found[0], words, items)
        if found[0] is not None:
            same("Framer.refused", *(framer.refused() for framer in framers), limits, data)
    read(core, data, words, items)


def framed(codec: Any, message: bytes, words: bool, items: int) -> None:
    """Compare what was read in advance, while a Framer cut a message out, with what is read of a copy of it."""
    found = codec.decodePlain(message, words, items)
    again = codec.decodePlain(bytes(bytearray(message)), words, items)
    if found is not None and again is not None:
        # If only one of them is None it is for the limit on items, which is that of the Framer before.
        same("decodePlain of a Framer", shape(found), shape(again), message, words, items)


def read(core: Any, message: bytes, words: bool, items: int) -> None:
    """Read what may be a message."""
    same("decode", *(shape(outcome(each.decode, message, words)) for each in (pure, core)), message, words)
    one, other = (each.decodePlain(message, words, items) for each in (pure, core))
    if (one is None) != (other is None):
        # One of them may leave to jelly what the other reads, if jelly reads the same.
        command, *parts = stockExpression(message, words)
        values = [unjelly(each, globalSecurity) for each in parts[-2 if command == b"message" else -1 :]]
        plain = one if other is None else other
        assert plain is not None
        same("decodePlain and jelly", shape(values), shape([*plain[-len(values) :]]), message, words, items)
    else:
        same("decodePlain", shape(one), shape(other), message, words, items)


def writing(core: Any, make: Maker) -> None:
    """The functions that encode."""
    rng = make.rng
    words, string, digits = rng.random() < 0.7, rng.choice([1 << 20, 300, 30, 5]), rng.choice([64, 64, 10, 2])
    limits = (words, string, digits)
    value = make.deep() if rng.random() < 0.05 else make.value()
    call = make.call()
    prefix = rng.choice([b"", b"cache", b"other"])
    for name, args in (
        ("encodePlain", (value,)),
        ("encodeAnswer", (make.leaf(), value)),
        ("encodeCall", (prefix, *call)),
        ("encodeTail", call[2:]),
        ("splice", (prefix, *call[:2], b"tail")),
        ("encode", (make.jelly(),)),
        ("encode", (make.value(2),)),
    ):
        same(name, *(outcome(getattr(each, name), *args, *limits) for each in (pure, core)), *args, *limits)
    try:
        expected = pure.encode(jelly(value, globalSecurity), words, string, digits)
    except (BananaError, UnicodeEncodeError, RecursionError):
        return
    found = core.encodePlain(value, *limits)
    if found is not None:
        same("encodePlain and jelly", expected, found, value, *limits)


def keys(core: Any, make: Maker) -> None:
    """`crowded`."""
    rng = make.rng
    some = [make.key() for _ in range(rng.randrange(60))]
    some += [rng.randrange(64) * (2**61 - 1) for _ in range(rng.choice([0, 30, 40]))]
    shift = rng.choice([1, 12, 20, 44])
    some += [number << shift for number in range(rng.choice([0, 50, 400]))]
    rng.shuffle(some)
    for members in (True, False):
        same("crowded", crowded(some, members), core.crowded(some, members), some, members)


def fuzz(core: Any, seconds: float, seed: int) -> int:
    """
    Compare both codecs.

    :return: how many cases there were.
    :raises Difference: they differ.
    """
    # `shape` takes two frames for each level, and a dict has two levels in Banana.
    sys.setrecursionlimit(5000)
    until, cases = time.monotonic() + seconds, 0
    while cases == 0 or time.monotonic() < until:
        rng = random.Random(seed)
        for _ in range(ROUND):
            make = Maker(rng)
            try:
                for part in rng.choice([(reading,), (reading, writing), (writing,), (keys,)]):
                    part(core, make)
            except Exception as error:
                raise Difference(f"--seed {seed}: {error}") from error
            cases += 1
        seed += 1
    return cases


# With sanitizers.


def sanitized(directory: str) -> tuple[str, str] | None:
    """
    Build the core with sanitizers.

    :return: the file, and the library that the process has to load first; None if that cannot be built here.
    """
    compiler = os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or sys.platform == "win32":
        return None
    target = os.path.join(directory, "_codec" + EXTENSION_SUFFIXES[0])
    include = sysconfig.get_paths()["include"]
    source = str(ROOT / "pbkit/wire/codec/_codec.c")
    libraries = ["libasan.so", f"libclang_rt.asan-{os.uname().machine}.so"]
    shared = ["-shared-libasan"] if "clang" in os.path.basename(compiler) else []
    command = [*compiler.split(), *SANITIZERS, *shared, "-shared", "-fPIC", "-I", include, source, "-o", target]
    try:
        subprocess.run(command, check=True, capture_output=True)
        for library in libraries:
            found = subprocess.run(
                [*compiler.split(), f"-print-file-name={library}"], check=True, capture_output=True, text=True
            ).stdout.strip()
            if os.path.isabs(found) and os.path.exists(found):
                return target, found
    except (OSError, subprocess.CalledProcessError):
        pass
    return None


def loaded(path: str) -> Any:
    """Load the core from a file."""
    loader = ExtensionFileLoader(NAME, path)
    spec = importlib.util.spec_from_loader(NAME, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def child(path: str, library: str | None, seconds: float, seed: int) -> int:
    """
    Fuzz in a process of its own, so that a crash is a status, and a seed gives the same sets each time.

    :param library: the sanitizers', or None.
    :return: the exit status: 1 if something wrong was found.
    """
    environ = {**os.environ, CORE: path, "PBKIT_PURE": "1", "PYTHONHASHSEED": "0"}
    if library is not None:
        environ |= {
            "LD_PRELOAD": library,
            # Python itself leaves memory behind at exit; `tests.wire.codec.test_codec` looks for leaks.
            "ASAN_OPTIONS": "detect_leaks=0:exitcode=99",
            "UBSAN_OPTIONS": "print_stacktrace=1",
            # Otherwise many objects lie in one block of memory, and reading beyond one is not noticed.
            "PYTHONMALLOC": "malloc",
        }
    command = [sys.executable, "-m", "tests.fuzzcodec", "--seconds", str(seconds), "--seed", str(seed)]
    status = subprocess.run(command, env=environ, cwd=ROOT).returncode
    if status:
        print(f"codec fuzz: failed with exit status {status}")
    return 1 if status else 0


def main(arguments: list[str]) -> int:
    """
    Fuzz.

    :return: the exit status: 1 if something wrong was found.
    """
    options = argparse.ArgumentParser(prog="python -m tests.fuzzcodec", description="Fuzz the codecs.")
    options.add_argument("--seconds", type=float, default=60.0, help="how long (default: 60)")
    options.add_argument("--seed", type=int, help="repeat what a run has printed")
    options.add_argument("--plain", action="store_true", help="without sanitizers")
    chosen = options.parse_args(arguments)
    seed = random.randrange(2**31) if chosen.seed is None else chosen.seed
    path = os.environ.get(CORE)
    if path is not None:
        how = "with sanitizers" if "LD_PRELOAD" in os.environ else "without sanitizers"
        try:
            cases = fuzz(loaded(path), chosen.seconds, seed)
        except Difference as error:
            print(error)
            return 1
        print(f"codec fuzz: {cases:,} cases in {chosen.seconds:g} s {how}, --seed {seed}: no difference")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        built = None if chosen.plain else sanitized(directory)
        if built is not None:
            return child(*built, chosen.seconds, seed)
        if not chosen.plain:
            print("codec fuzz: no compiler with sanitizers here", flush=True)
        spec = importlib.util.find_spec(NAME)
        if spec is None or spec.origin is None:
            print("codec fuzz: skipped, the compiled codec is not built here")
            return 0
        return child(spec.origin, None, chosen.seconds, seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

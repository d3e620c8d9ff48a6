"""
Bytes to messages and back, as Banana and jelly have them, in one pass.

There is a compiled core, which is built at installation where there is a C compiler; elsewhere `pbkit.wire.codec.pure`
is at work, and only speed is lost. ``PBKIT_PURE=1`` in the environment has the core passed by.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from pbkit.errors import Malformed, TooLarge
from pbkit.wire.codec import pure

__all__ = [
    "Malformed",
    "TooLarge",
    "compiled",
    "Framer",
    "crowded",
    "decode",
    "decodePlain",
    "encode",
    "encodeAnswer",
    "encodeCall",
    "encodePlain",
    "encodeTail",
    "splice",
]


def _chosen() -> ModuleType:
    if os.environ.get("PBKIT_PURE", "") in ("", "0"):
        try:
            core = import_module("pbkit.wire.codec._codec")
        except ImportError:
            return pure
        # One that was built from an older source, in a checkout say, is no good.
        if all(hasattr(core, name) for name in __all__[3:]):
            return core
    return pure


_core = _chosen()
#: Whether the compiled core is at work.
compiled: bool = _core is not pure

if TYPE_CHECKING:
    from pbkit.wire.codec.hashflood import crowded
    from pbkit.wire.codec.pure import (
        Framer,
        decode,
        decodePlain,
        encode,
        encodeAnswer,
        encodeCall,
        encodePlain,
        encodeTail,
        splice,
    )
else:
    Framer, crowded = _core.Framer, _core.crowded
    decode, decodePlain = _core.decode, _core.decodePlain
    encode, encodePlain = _core.encode, _core.encodePlain
    encodeAnswer, encodeCall = _core.encodeAnswer, _core.encodeCall
    encodeTail, splice = _core.encodeTail, _core.splice

"""
Bytes to messages and back: Banana and jelly in one pass, without I/O.

::

    pure.py       the codec in Python
    _codec.c      the same, compiled
    hashflood.py  finds keys that were chosen to make a dict or set slow

The compiled codec is built at installation if there is a C compiler. Without it the codec in Python is used, and only
speed is lost. ``PBKIT_PURE=1`` in the environment selects the codec in Python.
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
        # Do not use one that was built from an older source, as happens in a checkout.
        if all(hasattr(core, name) for name in __all__[3:]):
            return core
    return pure


_core = _chosen()
#: True if the compiled codec is used.
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

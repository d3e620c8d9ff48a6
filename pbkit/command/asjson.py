"""
Arguments and answers as JSON, with marks for the types that JSON does not have.
"""

from __future__ import annotations

import base64
import json
import math
from typing import NoReturn

from twisted.python.reflect import safe_str
from twisted.spread import pb


def parseArgument(text: str) -> object:
    """Return the value of a JSON text, or the text itself if it is not JSON."""
    try:
        # Python would also accept NaN and Infinity, which are not JSON.
        value: object = json.loads(text, parse_constant=_rejectConstant)
    except (ValueError, RecursionError):
        return text
    return value


def _rejectConstant(name: str) -> NoReturn:
    raise ValueError(name)


def oneLine(text: str) -> str:
    """Return an untrusted text on one line, with control characters escaped, so that it is safe for a terminal."""
    text = " ".join(text.split())
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


#: The keys with which `toJson` marks types that JSON does not have. A dict whose only key is one of these is marked
#: itself, so that it is not mistaken for a mark.
_MARKS = frozenset(("bytes", "tuple", "set", "dict", "float", "reference", "object", "cycle", "error"))


def toJson(answer: object) -> str:
    """
    Return an answer as JSON, on one line and in ASCII, so that it is safe for a terminal.

    Types that JSON does not have are marked: ``{"bytes": base64}``, ``{"tuple": [...]}``, ``{"set": [...]}``,
    ``{"dict": [[key, value], ...]}`` for a dict with keys that are not strings, ``{"float": "nan"}``,
    ``{"reference": number}`` for a reference to an object of the server, ``{"object": class and text}`` for any other
    object, and ``{"cycle": true}`` for a container inside itself. ``{"error": text}`` is not an answer: it replaces the
    answer of a call that failed, when one call is made per input line.
    """
    return json.dumps(_marked(answer, ()), allow_nan=False)


def _marked(value: object, around: tuple[int, ...]) -> object:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode("ascii")}
    if isinstance(value, pb.RemoteReference):
        return {"reference": value.luid}
    if id(value) in around:
        return {"cycle": True}
    inside = (*around, id(value))
    if isinstance(value, list):
        return [_marked(one, inside) for one in value]
    if isinstance(value, tuple):
        return {"tuple": [_marked(one, inside) for one in value]}
    if isinstance(value, set | frozenset):
        return {"set": [_marked(one, inside) for one in value]}
    if isinstance(value, dict):
        if all(isinstance(key, str) for key in value) and not (len(value) == 1 and _MARKS.issuperset(value)):
            return {key: _marked(one, inside) for key, one in value.items()}
        return {"dict": [[_marked(key, inside), _marked(one, inside)] for key, one in value.items()]}
    return {"object": f"{type(value).__module__}.{type(value).__qualname__}: {safe_str(value)}"}

"""
Values on the command line and on the terminal: JSON, with marks for what JSON does not have.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any, NoReturn

from twisted.python.reflect import safe_str
from twisted.spread import pb


def parseArgument(text: str) -> Any:
    """
    :return: what the text means as JSON; the text itself where it is none.
    """
    try:
        # NaN and Infinity are Python's, not JSON's.
        return json.loads(text, parse_constant=_noConstant)
    except (ValueError, RecursionError):
        return text


def _noConstant(name: str) -> NoReturn:
    raise ValueError(name)


def oneLine(text: str) -> str:
    """
    A text from elsewhere, fit for a terminal: on one line, with nothing that a terminal would obey.
    """
    text = " ".join(text.split())
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


#: The keys under which `toJson` marks what JSON does not have. A dict that has just one key, and that one of
#: these, is marked itself, so that an answer never reads as what it is not.
_MARKS = frozenset(("bytes", "tuple", "set", "dict", "float", "reference", "object", "cycle", "error"))


def toJson(answer: Any) -> str:
    """
    An answer as JSON, on one line and in ASCII: nothing in it can be obeyed by a terminal.

    What JSON does not have is marked: ``{"bytes": base64}``, ``{"tuple": [...]}``, ``{"set": [...]}``, a dict
    with keys other than str ``{"dict": [[key, value], ...]}``, ``{"float": "nan"}``, a reference to an object
    of the server's ``{"reference": number}``, any other object ``{"object": its class and text}``, and
    ``{"cycle": true}`` for what is inside itself. ``{"error": text}`` is no answer of a server's: with many calls it
    stands in the place of one that failed.
    """
    return json.dumps(_marked(answer, ()), allow_nan=False)


def _marked(value: Any, around: tuple[int, ...]) -> Any:
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

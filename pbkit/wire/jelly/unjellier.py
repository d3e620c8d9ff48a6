"""
What came, made into objects: stock's unjelly, for a peer that is not trusted.

It runs on what the fast codec leaves: references, instances and cycles, and whatever is wrong.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.spread import jelly, pb

from pbkit.errors import BadValue, ClassRefused
from pbkit.wire.jelly.containers import CONTAINERS, Containers, byText
from pbkit.wire.jelly.copystate import checkCopy, checkState, takesAny
from pbkit.wire.jelly.expressions import handles
from pbkit.wire.jelly.registry import FAILURE, STOCK

#: The largest and the smallest exponent of a Decimal: those of Python's default context. With a larger one a few bytes
#: become a number that `int` takes all memory for.
EXPONENT = 999_999

#: What has no parts, by how many arguments it has.
_LEAVES = {
    b"None": 0,
    b"unicode": 1,
    b"boolean": 1,
    b"decimal": 2,
    b"datetime": 1,
    b"date": 1,
    b"time": 1,
    b"timedelta": 1,
    b"unpersistable": 1,
    b"persistent": 1,
}


class Unjellier(Containers):
    """
    Makes objects of one expression, and can be used once.

    :param broker: for whom: a channel, or a broker without. It has the registry, the taster and the profile.
    """

    def __init__(self, broker: Any) -> None:
        profile = broker.connection.profile
        super().__init__(broker, strict=not profile.stockJelly, items=profile.limits.items)
        self._registry = broker.connection.registry
        self._profile = profile
        self._top: Any = None
        # The class that is to have a state, by the id of the state's expression.
        self._owners: dict[int, Any] = {}
        self._states: dict[int, Any] = {}
        self._references: Counter[str] = Counter()
        self._caches: Counter[str] = Counter()

    def unjellyFull(self, obj: Any) -> Any:
        """
        As stock's.

        :raises BadValue: it is not what jelly makes.
        :raises ClassRefused: it holds an instance of a class that is not accepted.
        """
        self._top = obj
        try:
            found = self.unjelly(obj)
            if self._placeholders:
                self._fill()
            for callback in self.postCallbacks:
                callback()
        except RecursionError:
            # Stock writes a log entry of 133 kB for a message of 5 kB.
            raise BadValue("it is nested too deep") from None
        return found

    def unmade(self) -> tuple[list[int], list[int]]:
        """
        After it has failed: the ids that nothing was made of, so that nobody will give them back.

        :return: those of references, and those of Cacheables.
        """
        # Else a copy of a Cacheable that has a placeholder in it would hold itself, by way of this.
        self._copies.clear()
        self.references.clear()
        self.postCallbacks.clear()
        references, caches = (Counter(map(byText, luids)) for luids in handles(self._top))
        return _numbers(references - self._references), _numbers(caches - self._caches)

    # Each part.

    def unjelly(self, obj: Any) -> Any:
        """As stock's."""
        if type(obj) is not list:
            return obj
        if self._strict and not (obj and type(obj[0]) is bytes):
            raise BadValue("a list that does not say of what")
        kind = obj[0]
        if not self.taster.isTypeAllowed(kind):
            raise self._refusal(kind)
        made = self._registry.classes.get(kind)
        if made is None and kind == FAILURE and obj is self._top:
            # An error has to be readable, whatever is accepted. It is all that came, and no part of something.
            made = pb.CopiedFailure
        factory = self._registry.factories.get(kind)
        if made is not None:
            found = self._instance(made, obj)
        elif factory is not None:
            self._arity(obj, 1)
            found = self._maybePostUnjelly(factory(self.unjelly(obj[1])))
        elif kind in CONTAINERS:
            found = getattr(self, CONTAINERS[kind])(obj[1:])
        elif kind in _LEAVES:
            found = self._leaf(obj)
        else:
            found = self._asStock(obj)
        owner = self._owners.pop(id(obj), None)
        if owner is not None:
            checkState(owner, found)
            self._states[id(obj)] = found
        return found

    def _asStock(self, obj: Any) -> Any:
        """What only a taster can allow: classes, modules, instances by the name of their class."""
        kind = obj[0]
        if self._registry.closed:
            known = kind in STOCK.classes or kind in STOCK.factories
            shared = self.taster is jelly.globalSecurity and kind not in _LEAVES and kind not in CONTAINERS
            if known or shared:
                # What anybody in this process has opened, for whatever purpose.
                raise self._refusal(kind)
        try:
            return super().unjelly(obj)
        except jelly.InsecureJelly as error:
            if self._strict and not isinstance(error, ClassRefused):
                raise self._refusal(kind) from None
            raise

    def _refusal(self, kind: Any) -> jelly.InsecureJelly:
        if not (self._strict or self._registry.closed):
            return jelly.InsecureJelly(kind)
        name = kind.decode("utf-8", "backslashreplace") if isinstance(kind, bytes) else repr(kind)
        cut = self._profile.log.cut
        name = name if len(name) <= cut else f"{name[:cut]}..."
        self.invoker.refusing(name)
        return ClassRefused(f"class {name!r} is not accepted here")

    def _maybePostUnjelly(self, unjellied: Any) -> Any:
        # Not one of the instance's own: the sender has chosen what is in there.
        if hasattr(type(unjellied), "postUnjelly"):
            self.postCallbacks.append(unjellied.postUnjelly)
        return unjellied

    # Instances.

    def _instance(self, made: Any, obj: Any) -> Any:
        copies = isinstance(made, type) and issubclass(made, pb.RemoteCopy)
        if self._strict:
            self._checkHead(getattr(made, "unjellyFor", made), obj)
            if copies and type(obj[-1]) is list:
                self._owners[id(obj[-1])] = made
            elif copies and not takesAny(made):
                raise BadValue("a state that is no dictionary")
        blank = jelly._createBlank(made)
        try:
            found = getattr(blank, "unjellyFor", made)(self, obj)
        except Exception as error:
            if isinstance(blank, pb.RemoteCache) and blank.broker is not None:
                if self.invoker.hasLocally(blank.luid, blank):
                    self._caches[byText(blank.luid)] += 1
                else:
                    # Each of the two that stock makes of it would give it back.
                    blank.broker = None
            if (
                self._strict
                and made is pb.CopiedFailure
                and isinstance(error, LookupError | TypeError | AttributeError)
            ):
                raise BadValue("a failure that is none") from None
            raise
        if made is pb.RemoteReference:
            self._references[byText(obj[1])] += 1
        elif isinstance(found, pb.RemoteCache):
            self._caches[byText(obj[1])] += 1
        state = self._states.pop(id(obj[-1]), None)
        if copies and type(state) is dict and made is not pb.CopiedFailure:
            checkCopy(found, state)
        if copies:
            self._copies.append(found)
        return self._maybePostUnjelly(found)

    def _checkHead(self, method: Any, obj: Any) -> None:
        """What stock's own classes take from the expression itself."""
        number = _ARITY.get(method)
        if number is not None:
            self._arity(obj, number)
        if obj[0] in _OWN:
            self._arity(obj, 1)
            table = self.invoker.remotelyCachedObjects if obj[0] == b"lcache" else {}
            if type(obj[1]) not in (int, bytes) or (obj[0] == b"lcache" and obj[1] not in table):
                raise BadValue("an id of nothing that was sent")
        elif method in _WITH_ID and type(obj[1]) is not int:
            raise BadValue("an id that is no number")
        if obj[0] == b"cached" and not self.invoker.hasLocally(obj[1]):
            raise BadValue("an id of nothing that was sent")

    def _arity(self, obj: Any, number: int) -> None:
        if self._strict and len(obj) != number + 1:
            name = obj[0].decode("utf-8", "backslashreplace")
            raise BadValue(f"{name:.100} takes {number}, and here are {len(obj) - 1}")

    # What has no parts.

    def _leaf(self, obj: Any) -> Any:
        kind, rest = obj[0], obj[1:]
        if not self._strict:
            return getattr(self, f"_unjelly_{kind.decode()}")(rest)
        if len(rest) != _LEAVES[kind]:
            self._arity(obj, _LEAVES[kind])
        name = kind.decode()
        if kind == b"decimal":
            right = all(type(part) is int for part in rest) and abs(rest[1]) <= EXPONENT
        else:
            right = not rest or type(rest[0]) is bytes or kind == b"persistent"
        if right:
            try:
                return getattr(self, "_unjelly_" + name)(rest)
            except (ValueError, TypeError, ArithmeticError, AssertionError):
                pass
        raise BadValue(f"a {name} that is none")


def _numbers(counted: Counter[str]) -> list[int]:
    return [int(text) for text in counted.elements()]


#: What is ours, or nobody's.
_OWN = frozenset((b"local", b"lcache"))

#: How many arguments what stock's own methods read has.
_ARITY: dict[Any, int] = {
    pb.RemoteReference.unjellyFor: 1,
    pb.RemoteCopy.unjellyFor: 1,
    pb.RemoteCache.unjellyFor: 2,
    jelly.Unjellyable.unjellyFor: 1,
    STOCK.classes[b"cached"]: 1,
}
_WITH_ID = frozenset((pb.RemoteReference.unjellyFor, pb.RemoteCache.unjellyFor, STOCK.classes[b"cached"]))

"""
Jelly expressions to objects: stock's unjelly, for a peer that is not trusted.

It runs on what the codec does not read by itself: references, instances, cycles, and whatever is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Protocol, TypeAlias

from twisted.persisted.crefutil import NotKnown, _Dereference
from twisted.spread import jelly, pb

from pbkit.errors import BadValue, ClassRefused
from pbkit.wire.jelly.containers import KeyChecker, PendingContainer, byText
from pbkit.wire.jelly.copystate import checkCopy, checkState, notADict, takesAny
from pbkit.wire.jelly.expressions import handles
from pbkit.wire.jelly.registry import FAILURE, STOCK, JellySettings

#: What jelly makes and Banana reads: a list that begins with a name, a number, bytes or a float. Stock has no types.
Expression: TypeAlias = Any
#: What is built of it: any object; or, within a cycle, a `NotKnown` in its place.
Built: TypeAlias = Any

#: The largest absolute exponent of a Decimal: that of Python's default context. With a larger one, a few bytes become a
#: number for which `int` takes all memory.
EXPONENT = 999_999

#: Expressions that hold others, with the method that reads each.
_CONTAINERS = {
    kind.encode(): f"_unjelly_{kind}"
    for kind in ("list", "tuple", "set", "frozenset", "dictionary", "reference", "dereference")
}

#: Expressions without parts, with the number of their arguments.
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

#: Names of objects that this end sent.
_OWN = frozenset((b"local", b"lcache"))


class ReceivingBroker(Protocol):
    """
    What an `Unjellier` needs of the broker or channel that it works for.
    """

    @property
    def connection(self) -> JellySettings:
        """The broker that has the socket, the profile and the registry."""

    @property
    def security(self) -> Any:
        """The taster."""

    @property
    def remotelyCachedObjects(self) -> Any:
        """As stock's."""

    def hasLocally(self, luid: Any, copy: Any = None) -> bool:
        """Return True if there is a copy of a Cacheable of the peer's under this id; this copy, if one is given."""

    def refusing(self, name: str) -> None:
        """Log that an instance of a class was refused."""


class Unjellier(jelly._Unjellier):
    """
    Builds the objects of one expression, in time proportional to its size. Use each instance once.

    :param broker: the broker or channel that received the expression.
    """

    def __init__(self, broker: ReceivingBroker) -> None:
        super().__init__(broker.security, None, broker)
        self._registry = broker.connection.registry
        self._profile = broker.connection.profile
        # Whatever is wrong is a `BadValue`; in drop-in use it is what stock raises.
        self._strict = not self._profile.stockJelly
        self._keys = KeyChecker(self._profile.limits.items)
        self._top: Expression = None
        # References to what is not built yet.
        self._pending: list[NotKnown] = []
        # How many values a walk through what was built so far meets. A few kilobytes can hold a list that holds another
        # twice, which holds another twice, and so on: no program could walk that to its end.
        # Each 64 bytes of a string count as one more where it comes again; `_own` is what strings count where they are.
        self._walked = self._own = 0
        # References within this expression, by id: those that were used before they were defined; those that are being
        # built, with the outer ones that they refer to, which makes a cycle, and how often; and those that are
        # complete, with the same and with how many values they have. An outer one has a lower number in their order.
        self._usedEarly: set[str] = set()
        self._open: dict[str, dict[str, int]] = {}
        self._outer: dict[str, dict[str, int]] = {}
        self._sizes: dict[str, int] = {}
        self._order: dict[str, int] = {}
        self._copies: list[pb.RemoteCopy] = []
        # The class that a state is for, and the state once it is built; both by the id of the state's expression.
        self._owners: dict[int, Any] = {}
        self._states: dict[int, object] = {}
        # What was built of references and Cacheables, by id. The rest is given back if the expression fails.
        self._references: Counter[str] = Counter()
        self._caches: Counter[str] = Counter()

    def unjellyFull(self, obj: Expression) -> Built:
        """
        As stock's.

        :raises BadValue: it is not what jelly makes.
        :raises ClassRefused: it holds an instance of a class that is not accepted.
        """
        self._top = obj
        try:
            found = self.unjelly(obj)
            if self._pending:
                self._resolve()
            for callback in self.postCallbacks:
                callback()
        except RecursionError:
            # Stock writes a log entry of 133 kB for a message of 5 kB.
            raise BadValue("it is nested too deeply") from None
        return found

    def unmade(self) -> tuple[list[int], list[int]]:
        """
        Return the ids from which nothing was built, after the expression has failed. The peer counts them as sent, and
        no object will give them back.

        :return: the ids of references, and those of Cacheables.
        """
        # Otherwise a copy of a Cacheable that holds a placeholder would stay alive through this object.
        self._copies.clear()
        self.references.clear()
        self.postCallbacks.clear()
        references, caches = (Counter(map(byText, luids)) for luids in handles(self._top))
        return _ids(references - self._references), _ids(caches - self._caches)

    def unjelly(self, obj: Expression) -> Built:
        """As stock's."""
        self._walked += 1
        if type(obj) is not list:
            if type(obj) is bytes:
                self._text(obj)
            return obj
        if self._strict and not (obj and type(obj[0]) is bytes):
            raise BadValue("a list does not begin with the name of a type")
        kind = obj[0]
        if not self.taster.isTypeAllowed(kind):
            raise self._refusal(kind)
        made = self._registry.classes.get(kind)
        if made is None and kind == FAILURE and obj is self._top:
            # An error is always accepted, so that the caller can be told; but only as the whole, not within a value.
            made = pb.CopiedFailure
        factory = self._registry.factories.get(kind)
        if made is not None:
            found = self._instance(made, obj)
        elif factory is not None:
            self._checkCount(obj, 1)
            found = self._maybePostUnjelly(factory(self.unjelly(obj[1])))
        elif kind in _CONTAINERS:
            found = getattr(self, _CONTAINERS[kind])(obj[1:])
        elif kind in _LEAVES:
            found = self._leaf(obj)
        else:
            found = self._byName(obj)
        owner = self._owners.pop(id(obj), None)
        if owner is not None:
            checkState(owner, found)
            self._states[id(obj)] = found
        return found

    def _text(self, text: bytes) -> None:
        size = len(text) >> 6
        self._walked += size
        self._own += size

    # Containers. These methods take no more frames per level than stock's: Python's recursion limit counts them.

    def _unjelly_list(self, lst: Expression) -> Built:
        items: list[Built] = []
        for each in lst:
            items.append(item := self.unjelly(each))
            if isinstance(item, NotKnown):
                item.addDependant(items, len(items) - 1)
        return items

    def _unjelly_tuple(self, lst: Expression) -> Built:
        return self._collected(lst, tuple)

    def _unjellySetOrFrozenset(self, lst: Expression, containerType: Callable[[list[Built]], Built]) -> Built:
        def build(items: list[Built]) -> Built:
            self._keys.check(items, members=True)
            return containerType(items)

        return self._collected(lst, build)

    def _collected(self, lst: Expression, build: Callable[[list[Built]], Built]) -> Built:
        items: list[Built] = []
        for each in lst:
            items.append(item := self.unjelly(each))
            if isinstance(item, NotKnown):
                item.addDependant(items, len(items) - 1)
        if not any(isinstance(item, NotKnown) for item in items):
            return build(items)
        pending = PendingContainer(items, build)
        self._pending.append(pending)
        return pending

    def _unjelly_dictionary(self, lst: Expression) -> dict[Built, Built]:
        keys: list[Built] = []
        values: list[Built] = []
        for pair in lst:
            if self._strict and not (type(pair) is list and len(pair) == 2):
                raise BadValue("a dictionary has an item that is not a pair")
            key, value = pair
            keys.append(self.unjelly(key))
            if self._strict and isinstance(keys[-1], NotKnown):
                raise BadValue("a key holds its own dictionary")
            values.append(None)
            self.unjellyInto(values, len(values) - 1, value)
        self._keys.check(keys, members=False)
        found = dict(zip(keys, values, strict=True))
        for key, value in found.items():
            if isinstance(value, NotKnown):
                value.addDependant(found, key)
        return found

    # References within the expression.

    def _unjelly_reference(self, lst: Expression) -> Built:
        if self._strict:
            if len(lst) != 2 or type(lst[0]) is not int:
                raise BadValue("a reference within the message has no integer id")
            if byText(lst[0]) in self._open or byText(lst[0]) in self._sizes:
                raise BadValue("two references within the message have the same id")
            if type(lst[1]) is list and lst[1][:1] == [b"dereference"]:
                raise BadValue("a reference within the message refers to another")
        number = byText(lst[0])
        if number in self._usedEarly:
            # Jelly never makes this, and what was built with it is larger than was counted.
            raise BadValue("a reference within the message is used before it is defined")
        self._open[number] = {}
        self._order[number] = len(self._order)
        before = self._walked
        found = super()._unjelly_reference([number, lst[1]])
        self._sizes[number] = self._walked - before
        self._outer[number] = outer = self._open.pop(number)
        outer.pop(number, None)
        for each, times in outer.items():
            self._addOuter(each, times)
        return found

    def _addOuter(self, number: str, times: int) -> None:
        if self._open:
            outer = self._open[next(reversed(self._open))]
            outer[number] = outer.get(number, 0) + times

    def _unjelly_dereference(self, lst: Expression) -> Built:
        if self._strict and (len(lst) != 1 or type(lst[0]) is not int):
            raise BadValue("a reference within the message has no integer id")
        number = byText(lst[0])
        self._follow(number)
        found = super()._unjelly_dereference([number])
        if isinstance(found, NotKnown):
            if found.resolved:
                # Stock would raise AssertionError when it is used.
                return found.resolvedObject
            if isinstance(found, _Dereference):
                self._pending.append(found)
        return found

    def _follow(self, number: str) -> None:
        """
        Count what a walk meets that follows a reference within the expression.

        What is still being built is around the place of the reference: a walk has come from there, and goes no further.
        So a cycle counts once. But a part of a cycle that is complete leads back into the whole of it, as often as it
        refers to it: each of these walks goes on from there, since Python's repr only stops at what it is inside of.
        """
        if number not in self._sizes and number not in self._open:
            self._usedEarly.add(number)
            return
        most = self._profile.limits.items
        counts = {number: 1}
        # Inner ones first: only these lead to others.
        todo = [(-self._order[number], number)]
        while todo:
            each = heappop(todo)[1]
            times = counts[each]
            if each in self._open:
                self._addOuter(each, times)
                continue
            self._walked += times * self._sizes[each]
            if self._walked > most + self._own:
                raise BadValue(
                    f"it exceeds limits.items ({most:,}) when each reference within it is followed; raise limits.items "
                    "in the profile of the end that receives it"
                )
            for outer, more in self._outer[each].items():
                if outer not in counts:
                    counts[outer] = 0
                    heappush(todo, (-self._order[outer], outer))
                counts[outer] += times * more

    def _resolve(self) -> None:
        """Check that no placeholder is left, once everything is built."""
        if self._strict and not all(one.resolved for one in self._pending):
            # Stock passes the placeholders to the method that is called.
            raise BadValue("it refers to something that is not in the message")
        for copy in self._copies:
            # Stock copies the state into a new dict, which is not updated when a cycle closes.
            for name, value in list(vars(copy).items()):
                if isinstance(value, NotKnown) and value.resolved:
                    vars(copy)[name] = value.resolvedObject

    # Instances.

    def _instance(self, made: Any, obj: Expression) -> Built:
        copies = isinstance(made, type) and issubclass(made, pb.RemoteCopy)
        if self._strict:
            self._checkHead(getattr(made, "unjellyFor", made), obj)
            if copies and type(obj[-1]) is list:
                self._owners[id(obj[-1])] = made
            elif copies and not takesAny(made):
                raise notADict(made)
        blank = jelly._createBlank(made)
        try:
            found = getattr(blank, "unjellyFor", made)(self, obj)
        except Exception as error:
            if isinstance(blank, pb.RemoteCache) and blank.broker is not None:
                if self.invoker.hasLocally(blank.luid, blank):
                    self._caches[byText(blank.luid)] += 1
                else:
                    # Stock makes two objects from it, and each would give the Cacheable back.
                    blank.broker = None
            if (
                self._strict
                and made is pb.CopiedFailure
                and isinstance(error, LookupError | TypeError | AttributeError)
            ):
                raise BadValue("a failure lacks parts of its state") from None
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

    def _maybePostUnjelly(self, unjellied: Built) -> Built:
        # The hook of the class only: the sender chose the attributes of the instance.
        if hasattr(type(unjellied), "postUnjelly"):
            self.postCallbacks.append(unjellied.postUnjelly)
        return unjellied

    def _checkHead(self, method: object, obj: Expression) -> None:
        """Check what stock's own classes read from the expression itself."""
        count = _ARGUMENTS.get(method)
        if count is not None:
            self._checkCount(obj, count)
        if obj[0] in _OWN:
            self._checkCount(obj, 1)
            table = self.invoker.remotelyCachedObjects if obj[0] == b"lcache" else {}
            if type(obj[1]) not in (int, bytes) or (obj[0] == b"lcache" and obj[1] not in table):
                raise BadValue(f"unknown id: this end sent no {obj[0].decode()} object under it")
        elif method in _WITH_ID and type(obj[1]) is not int:
            raise BadValue("the id of a remote object is not an integer")
        if obj[0] == b"cached" and not self.invoker.hasLocally(obj[1]):
            raise BadValue("unknown id: the peer has sent no Cacheable under it")

    def _checkCount(self, obj: Expression, count: int) -> None:
        if self._strict and len(obj) != count + 1:
            name = obj[0].decode("utf-8", "backslashreplace")
            raise BadValue(f"{name:.100} takes {count} arguments, got {len(obj) - 1}")

    # Everything else.

    def _leaf(self, obj: Expression) -> Built:
        kind, rest = obj[0], obj[1:]
        if rest and type(rest[0]) is bytes:
            self._text(rest[0])
        if not self._strict:
            return getattr(self, f"_unjelly_{kind.decode()}")(rest)
        if len(rest) != _LEAVES[kind]:
            self._checkCount(obj, _LEAVES[kind])
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
        raise BadValue(f"invalid {name}")

    def _byName(self, obj: Expression) -> Built:
        """Build what needs a taster's permission: classes, modules, instances by the name of their class."""
        kind = obj[0]
        if self._strict and not kind.isascii():
            # Stock fails to decode it, which would look like an error of ours.
            raise self._refusal(kind)
        if self._registry.closed:
            known = kind in STOCK.classes or kind in STOCK.factories
            shared = self.taster is jelly.globalSecurity and kind not in _LEAVES and kind not in _CONTAINERS
            if known or shared:
                # It is registered or allowed for the whole process, not for this server.
                raise self._refusal(kind)
        try:
            return super().unjelly(obj)
        except jelly.InsecureJelly as error:
            if self._strict and not isinstance(error, ClassRefused):
                raise self._refusal(kind) from None
            raise

    def _refusal(self, kind: object) -> jelly.InsecureJelly:
        if not (self._strict or self._registry.closed):
            return jelly.InsecureJelly(kind)
        name = kind.decode("utf-8", "backslashreplace") if isinstance(kind, bytes) else f"({type(kind).__name__})"
        cut = self._profile.log.cut
        name = name if len(name) <= cut else f"{name[:cut]}..."
        self.invoker.refusing(name)
        return ClassRefused(f"class {name!r} is not accepted here")


def _ids(counted: Counter[str]) -> list[int]:
    return [int(text) for text in counted.elements()]


#: How many arguments stock's own methods read.
_ARGUMENTS: dict[object, int] = {
    pb.RemoteReference.unjellyFor: 1,
    pb.RemoteCopy.unjellyFor: 1,
    pb.RemoteCache.unjellyFor: 2,
    jelly.Unjellyable.unjellyFor: 1,
    STOCK.classes[b"cached"]: 1,
}
_WITH_ID = frozenset((pb.RemoteReference.unjellyFor, pb.RemoteCache.unjellyFor, STOCK.classes[b"cached"]))


__all__ = ["EXPONENT", "ReceivingBroker", "Unjellier"]

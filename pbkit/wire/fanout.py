"""
Encode once, send to many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.spread import banana, pb
from zope.interface import implementer

from pbkit.interfaces import ICast
from pbkit.wire import codec

if TYPE_CHECKING:
    from pbkit.wire.calls import Calls


@implementer(ICast)
class Cast:
    """
    A call that goes to many, and wants no answer. What is the same for all of them is encoded once for each dialect;
    the ids are put before it. With arguments that depend on the connection, such as a Referenceable, it is put together
    for each by itself.

    :param method: of the clients' objects, without ``remote_``.
    :param args: its arguments; not to be changed before the last has it.
    :param kw: likewise.
    """

    __slots__ = ("_args", "_kw", "_method", "_tails")

    def __init__(self, method: str, args: tuple[Any, ...], kw: dict[str, Any]) -> None:
        self._method = method.encode("utf-8")
        self._args = args
        self._kw = kw
        self._tails: dict[bool, bytes | None] = {}

    def to(self, reference: pb.RemoteReference) -> bool:
        """
        Send it to one.

        :param reference: to the client's object; its broker may be stock's.
        :return: whether it was sent: not to who is gone.
        :raises Exception: what is wrong with the arguments, if they cannot be sent.
        """
        # A channel's or a connection of ours; stock's brokers have no such thing.
        tables: Calls = reference.broker
        connection = getattr(tables, "connection", None)
        if connection is not None:
            if tables.dead() is not None or connection.closed:
                return False
            if connection.plain:
                vocabulary = connection.vocabulary
                if vocabulary not in self._tails:
                    self._tails[vocabulary] = codec.encodeTail(
                        self._method, 0, self._args, self._kw, vocabulary, banana.SIZE_LIMIT
                    )
                tail = self._tails[vocabulary]
                if tail is not None:
                    data = codec.splice(
                        b"", connection.newRequestID(), reference.luid, tail, vocabulary, banana.SIZE_LIMIT
                    )
                    if data is not None:
                        connection.outbound.write(data)
                        return True
        return self._alone(reference)

    def _alone(self, reference: pb.RemoteReference) -> bool:
        try:
            failed = reference.callRemote(self._method.decode("utf-8"), *self._args, pbanswer=False, **self._kw)
        except pb.DeadReferenceError:
            return False
        if isinstance(failed, Deferred):
            # Stock hands back a failed Deferred when the arguments cannot be serialised, and only then.
            errors: list[Failure] = []
            failed.addErrback(errors.append)
            for error in errors:
                error.raiseException()
        return True

"""Something that could be sent, if the server would take it."""

from twisted.spread import pb


class Book(pb.Copyable):
    pass

"""A class that the server does not accept."""

from twisted.spread import pb


class Book(pb.Copyable):
    pass

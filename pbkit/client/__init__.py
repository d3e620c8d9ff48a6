"""
The client's side.

::

    connecting.py   connect(): connects, logs in, always fires
    endpoint.py     client endpoint descriptions, such as tcp:localhost:8787
    session.py      ClientSession: a login while it lasts
    connection.py   the connection under it: makes calls fail with exceptions, notes goodbyes
    exceptions.py   turns what a server raised back into exceptions
    factory.py      ClientFactory, for programs that use stock's API
    instance.py     the client instance id, by which a client reclaims its own stale session
"""

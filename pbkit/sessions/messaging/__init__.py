"""
How clients are reached.

::

    recipient.py    a session, as the modules here see it
    mind.py         the client's own object, made safe to hold and to call
    delivery.py     what became of a message
    telling.py      messages to many clients that do not block the reactor
    broadcast.py    one message to several clients
    gather.py       the answers of several clients
    outbox.py       the queue of a slow consumer
    slowpolicy.py   what to queue and what to drop for a slow consumer
    topics.py       named groups of sessions
    presence.py     who is logged in, as events
    watchers.py     the clients that watch presence
    feed.py         numbered changes, for clients that reconnect
    hub.py          what the sessions of a realm share
"""

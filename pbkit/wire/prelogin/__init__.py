"""
What an unauthenticated connection may do, and which connections make room for others.

::

    state.py        PreloginState: carries out the decisions of the others for one connection
    gate.py         PreloginGate: what a peer may send before it has logged in; pure
    foreign.py      recognizes clients of other protocols, such as TLS and HTTP; pure
    queue.py        PreloginQueue: which connections may stay; pure
    seat.py         Seat: a connection's entry in the queue;  AddressGroup: the seats of one address
    timing.py       LoginDeadlines, GracePeriods: who must have logged in by when, and who is new
    prioritymap.py  PriorityMap: finds the item with the lowest priority
"""

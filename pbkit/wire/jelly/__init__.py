"""
Objects to messages and back: stock's jelly, for peers that are not trusted.

::

    jellier.py      objects to expressions; an error says what cannot be sent
    unjellier.py    expressions to objects; an error says what is wrong with them
    containers.py   how the unjellier builds dicts, sets and tuples: key checks, cycles
    registry.py     which classes a connection accepts
    copystate.py    checks the state that a peer sends for a copy
    expressions.py  what an expression holds, found without building it
    failures.py     the errors that a peer sends
"""

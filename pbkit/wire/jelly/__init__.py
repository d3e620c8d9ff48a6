"""
Objects to messages and back: stock's jelly, for peers that are not trusted.

=============== ============================================================================
jellier         objects to expressions; an error says what cannot be sent
unjellier       expressions to objects; an error says what is wrong with them
containers      what the unjellier builds dicts, sets and tuples with: key checks, cycles
registry        which classes a connection accepts
copystate       checks the state that a peer sends for a copy
expressions     what an expression holds, found without building it
failures        the errors that a peer sends
=============== ============================================================================
"""

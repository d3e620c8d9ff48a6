"""
What takes longer than a test may: `.ci/soak --seconds N`, or `python -m tests.soak`.

::

    parts.py        the parts, each a process, and how they share the time
    examples.py     a pytest plugin: the property tests, with more and new examples
    faults.py       clients whose connections break in every way, against each realm
    load.py         a mixed load on a server, whose memory and pauses are watched

The part "codec" is `tests.fuzzcodec`, the fuzzer of the codecs under sanitizers.
"""

"""
The benchmarks: pbkit beside stock Perspective Broker and beside its peers, in one run.

    python -m benchmarks [--peers ...] [--work ...] [--rounds N] [--seconds S] [--quick] [--out docs]

A map, for whoever comes new::

    __main__.py     the options
    works.py        what is measured;  data.py: what is sent
    contenders.py   who is measured
    measuring.py    one measurement of one contender;  rounds.py: all of them, interleaved
    figures.py      what was found: medians, ratios
    page.py         the table;  plot.py: the picture;  machine.py: where it ran
    process.py      a contender's process, as seen from here
    station.py      the same, from inside: orders come in on a pipe, JSON goes out
    onreactor.py    the part that all peers on Twisted share
    perspective.py  the part that stock PB and pbkit share
    peers/          one module for each peer: its server and its client
    roster.py       another benchmark, by itself: are look-up, login and logout O(1)?
    audience.py     another: thousands are told, does anybody wait, does memory grow?  peers/audience.py: its processes
"""

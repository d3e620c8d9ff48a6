"""
The benchmarks: pbkit, stock Perspective Broker and other libraries, measured in one run.

    python -m benchmarks [--peers ...] [--work ...] [--rounds N] [--seconds S] [--quick] [--out docs]

The modules::

    __main__.py     the options
    works.py        what is measured;  data.py: what is sent
    contenders.py   what is compared
    measuring.py    one measurement of one contender;  rounds.py: all of them, interleaved
    figures.py      the results: medians, ratios
    page.py         the table;  plot.py: the picture;  machine.py: the machine
    process.py      a contender's processes, seen from the run
    station.py      the same, from inside: receives orders on a pipe, answers with JSON
    onreactor.py    common code of the peers on Twisted
    perspective.py  common code of stock PB and pbkit
    peers/          one module per peer: its server and its client
    roster.py       a separate benchmark: are lookup, login and logout O(1)?
    presence.py     another: the cost of telling watchers of presence
    audience.py     another: latency and memory while thousands are told;  peers/audience.py: its processes
"""

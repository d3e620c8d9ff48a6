"""
A contender's process, from inside: it receives orders on standard input, one line of JSON each, and answers with JSON.

Receiving orders does not affect the measurement: a separate thread waits for them, and it reports the CPU time of the
process without involving the reactor. When the input ends, because the run has finished or died, the process exits.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

#: Called with an order, and with a callback for the answer or an exception.
Answer = Callable[[object], None]
Action = Callable[[dict[str, Any], Answer], None]


def residentBytes() -> int:
    """
    Return the memory of this process, or 0 on systems without ``/proc``.
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


class Station:
    """
    Sends the first message, then serves orders until the input ends.

    :param actions: the orders. They are called in the station's thread, and switch to the reactor themselves.
    """

    def __init__(self, actions: dict[str, Action]) -> None:
        self._actions: dict[str, Action] = {"usage": self._usage, **actions}
        # Keep other output off the pipe, such as what a library prints.
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._writing = threading.Lock()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self, **hello: Any) -> None:
        """
        Send the first message, and start the thread.

        :param hello: what the run has to know, such as the address.
        """
        self._say(hello)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the end, in a process that has nothing else to do."""
        self._thread.join()

    def _say(self, what: dict[str, Any]) -> None:
        with self._writing:
            self._out.write(json.dumps(what) + "\n")
            self._out.flush()

    def _serve(self) -> None:
        for line in sys.stdin:
            order = json.loads(line)
            try:
                self._actions[order["do"]](order, self._answer)
            except Exception as error:
                self._answer(error)
        os._exit(0)

    def _answer(self, result: object) -> None:
        if isinstance(result, BaseException):
            traceback.print_exception(result, file=sys.stderr)
            self._say({"error": f"{type(result).__name__}: {result}"})
        else:
            self._say(result if isinstance(result, dict) else {})

    @staticmethod
    def _usage(order: dict[str, Any], answer: Answer) -> None:
        if order.get("settled"):
            gc.collect()
        answer({"cpu": time.process_time(), "memory": residentBytes()})

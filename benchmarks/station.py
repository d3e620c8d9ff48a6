"""
A contender's process, from inside: orders come in on standard input, one line of JSON each, and each is answered so.

What it costs to be asked is not measured: a thread that does nothing else waits for the orders, and what a process has
used so far it tells without a look at the reactor. When the input ends, which is when the run is over or dead, so does
the process.
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

#: Called with an order, and with what to call with the answer, or with an exception.
Answer = Callable[[object], None]
Action = Callable[[dict[str, Any], Answer], None]


def residentBytes() -> int:
    """
    :return: how much memory this process has, or 0 where ``/proc`` does not tell.
    """
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()
    except OSError:
        return 0


class Station:
    """
    Says hello, then serves orders until there are no more.

    :param actions: what can be ordered. They are called in the station's thread: to go over to a reactor is theirs.
    """

    def __init__(self, actions: dict[str, Action]) -> None:
        self._actions: dict[str, Action] = {"usage": self._usage, **actions}
        # Nothing else may write there, whatever a library prints.
        self._out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        self._writing = threading.Lock()
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self, **hello: Any) -> None:
        """
        :param hello: what the other side has to know, such as the address.
        """
        self._say(hello)
        self._thread.start()

    def wait(self) -> None:
        """For a process that has nothing of its own to do."""
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

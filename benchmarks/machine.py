"""
The machine of a run.
"""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version

#: The packages whose versions are listed, if they are installed.
PACKAGES = ("Twisted", "foolscap", "rpyc", "autobahn", "grpcio", "msgpack", "msgspec")


def processor() -> str:
    """
    Return the name of the processor if the system knows it, and otherwise its architecture.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """
    Return the versions of Python and of the installed packages.
    """
    found = {platform.python_implementation(): platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def description() -> dict[str, str]:
    """
    Return the machine, the system, the versions and the date, by name.
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }

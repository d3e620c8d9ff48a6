"""
Where a run was made.
"""

from __future__ import annotations

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version

#: What is named beside Python, if it is installed.
PACKAGES = ("Twisted", "foolscap", "rpyc", "autobahn", "grpcio", "msgpack", "msgspec")


def processor() -> str:
    """
    :return: the processor's own name where the system tells, else its architecture.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            names = [line.partition(":")[2].strip() for line in info if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """
    :return: of Python, and of each package that is installed.
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
    :return: the machine, the system, the versions and the date, each by its name.
    """
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "machine": f"{processor()}, {os.cpu_count()} cores",
        "system": f"{platform.system()} {platform.release()}",
        "versions": ", ".join(f"{name} {number}" for name, number in versions().items()),
    }

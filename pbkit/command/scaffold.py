"""
``pbkit init``: a small project to begin with, whose tests pass and whose server starts.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

#: What stands in the package for a file is called so behind its name: it is no Python of the package's own.
SUFFIX = ".in"


class CannotInit(Exception):
    """The project cannot be made; the text says why. Nothing that was there has been touched."""


def template() -> dict[str, str]:
    """
    :return: the files of the project: the text of each by its name.
    """
    found = files("pbkit.command").joinpath("templates").iterdir()
    texts = {each.name: each.read_text(encoding="utf-8") for each in found if each.name.endswith(SUFFIX)}
    return {name.removesuffix(SUFFIX): texts[name] for name in sorted(texts)}


def makeProject(directory: Path) -> list[Path]:
    """
    Write the files of a small project. All of them, or none.

    :param directory: where; made if it is not there. It may hold other files.
    :return: the files.
    :raises CannotInit: one of them is there already, or it cannot be written.
    """
    texts = {directory / name: text for name, text in template().items()}
    taken = [path.name for path in texts if os.path.lexists(path)]
    if taken:
        raise CannotInit(f"{directory}: there is {', '.join(taken)} already, and nothing is overwritten: name another")
    made: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            # Exclusively: it may have come in this very moment.
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
    except OSError as e:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(e, NotADirectoryError | FileExistsError) and not directory.is_dir():
            raise CannotInit(f"{directory}: it is a file, or lies below one: name a directory") from None
        raise CannotInit(f"{e.filename or directory}: {e.strerror or e}") from None
    return made

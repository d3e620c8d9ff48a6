"""
``pbkit init``: writes a small project to start from. Its tests pass and its server starts.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

#: The suffix of the template files, so that tools do not take them for Python modules of the package.
SUFFIX = ".in"


class CannotInit(Exception):
    """The project cannot be written; the text says why. Existing files are unchanged."""


def template() -> dict[str, str]:
    """Return the text of each file of the project, by file name."""
    found = files("pbkit.command").joinpath("templates").iterdir()
    texts = {each.name: each.read_text(encoding="utf-8") for each in found if each.name.endswith(SUFFIX)}
    return {name.removesuffix(SUFFIX): texts[name] for name in sorted(texts)}


def makeProject(directory: Path) -> list[Path]:
    """
    Write the files of the project: all of them, or none.

    :param directory: where to write them. It is created if necessary, and may contain other files.
    :return: the paths of the files.
    :raises CannotInit: a file of that name exists, or cannot be written.
    """
    texts = {directory / name: text for name, text in template().items()}
    taken = [path.name for path in texts if os.path.lexists(path)]
    if taken:
        raise CannotInit(f"{directory} already contains {', '.join(taken)}; choose another directory")
    made: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            # Open exclusively, because the file may have been created since the check.
            with path.open("x", encoding="utf-8") as file:
                made.append(path)
                file.write(text)
    except OSError as e:
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(e, NotADirectoryError | FileExistsError) and not directory.is_dir():
            raise CannotInit(f"{directory} is a file, or is inside one; choose a directory") from None
        raise CannotInit(f"cannot write {e.filename or directory}: {e.strerror or e}") from None
    return made

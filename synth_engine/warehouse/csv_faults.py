"""What is wrong with a CSV file, by its line and never by what stands there: values of real rows are not for messages."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path


def fault_of_names(path: Path) -> str | None:
    """What is wrong with the first line of a CSV file, the names of its columns, None if nothing is. They must differ in more than
    case, or a warehouse could not tell them apart; those left empty get one."""
    names = next((record for _, record in _records(path)), [])
    if not any(name.strip() for name in names):
        return "its first line names no column"
    first: dict[str, int] = {}
    for place, name in enumerate(names, 1):
        other = first.setdefault(name.strip().casefold(), place)
        if name.strip() and other != place:
            return f"its first line names columns {other} and {place} alike, but for case"
    return None


def fault_of_lines(path: Path) -> str | None:
    """The first line of a CSV file that is no row of its table; None if they all are."""
    line, width = 0, 0
    try:
        for line, record in _records(path):
            width = width or len(record)
            if record and len(record) != width:
                return f"line {line} has {len(record)} fields, the first line {width}"
    except UnicodeDecodeError:
        return f"line {_first_of_other_encoding(path)} is not UTF-8"
    except csv.Error as error:  # its message is of quotes, not of values
        return f"after line {line}: {error}"
    return None


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Records, each with the line it ends on."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        for record in reader:
            yield reader.line_num, record


def _first_of_other_encoding(path: Path) -> int:
    """Readers decode in blocks: where they stop tells little."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1

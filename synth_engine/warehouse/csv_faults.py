"""What is wrong with a CSV file, by its line and never by what stands there: values of real rows are not for messages."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

_LINE = re.compile(r"CSV Error on Line: (\d+)")
_FIELDS = re.compile(r"Expected Number of Columns: (\d+) Found: (\d+)")
_OPEN_QUOTE = "a field whose quotation mark is never closed, or is followed by something"
_REASONS = {"unicode": "is not UTF-8", "unterminated quote": f"begins {_OPEN_QUOTE}"}
_LIMIT = csv.field_size_limit()
_VALUE = re.compile(r"\s*(\d{4}-\d\d-\d\d.*|[+-]?\d*\.\d+)\s*")
"""A date or a broken number; whole ones may well be names, as years are."""


def fault_of_names(written: Sequence[str | None], types: Mapping[str, str]) -> str | None:
    """What is wrong with the names as written in the first line of a CSV file, None if nothing is; `types` are those of the columns by the
    names that the reader gave them. Columns without a name get one."""
    if len(types) == 1 and any(separator in next(iter(types)) for separator in "\t;|"):
        return "its one column has tabs, semicolons or bars in its name, which separate nothing"
    for place, (name, data_type) in enumerate(zip(written, types.values(), strict=True), 1):
        if name and data_type != "string" and _VALUE.fullmatch(name):
            return f"column {place} is named like one of its values: the first line must hold names"
    for place, (name, found) in enumerate(zip(written, types, strict=True), 1):
        if name and name.strip() != found:
            return f"column {place} has the name of another one (case and spaces around it do not count)"
    return None


def fault_of_lines(path: Path, said: str) -> str | None:
    """The first line of a CSV file that is no row of its table, by what the reader `said` if that tells it; None if nothing is found."""
    if not (line := _LINE.search(said)):
        return _first_fault(path)
    if fields := _FIELDS.search(said):
        return f"line {line[1]} has {_fields(int(fields[2]))}, the first line has {fields[1]}"
    reason = next((told for word, told in _REASONS.items() if word in said), "cannot be read")
    return f"line {line[1]} {reason}"


def _first_fault(path: Path) -> str | None:
    """By a second reader, for files of which the first could not even tell where lines end. Bytes that are not UTF-8 become lone
    surrogates there."""
    start, width = 1, 0
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
        reader = csv.reader(stream, strict=True, skipinitialspace=True)
        try:
            for record in reader:
                width = width or len(record)
                if not _is_utf8(record):
                    return f"line {start} is not UTF-8"
                if record and len(record) != width:
                    return f"line {start} has {_fields(len(record))}, the first line has {width}"
                start = reader.line_num + 1
        except csv.Error as error:
            too_long = f" (or it is longer than {_LIMIT:,} characters)" if "limit" in str(error) else ""
            return f"after line {start - 1} there is {_OPEN_QUOTE}{too_long}"
    if not width:
        return "it is empty"
    return "its lines end in different ways" if _has_mixed_ends(path) else None


def _is_utf8(record: list[str]) -> bool:
    return not any("\udc80" <= letter <= "\udcff" for field in record for letter in field)


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _has_mixed_ends(path: Path) -> bool:
    with path.open("rb") as stream:
        return len({line.endswith(b"\r\n") for line in stream if line.endswith(b"\n")}) > 1

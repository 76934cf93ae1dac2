"""Check digits: characters of a number that follow from the others, so that a slip of the pen shows.

A number without them is its body. Letters and separators (`978-3-16-148410-0`) stay where they are and do not count, but in an
IBAN, where letters do.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Collection, Sequence

CHECK_DIGITS = ("luhn", "ean13", "isbn10", "mod97")
"""Card numbers and IMEIs; EAN, UPC, GTIN and ISBN of 13 digits; ISBN of 10; IBAN."""

FEWEST, HOLDING = 30, 0.999
"""Values that a rule must be seen on before it is believed, and the share that must obey it: by chance one in ten does."""

SHORTEST_BODY = 5
"""Digits without which a number has no check digit: two values of three digits obey some rule too easily."""


def endings(rule: str) -> str:
    """The check characters that a rule may put at the end of a body; empty for a rule that puts them elsewhere."""
    return {"mod97": "", "isbn10": string.digits + "X"}.get(rule, string.digits)


def body(rule: str, value: str) -> str:
    """The value without its check digits."""
    return value[:2] + value[4:] if rule == "mod97" else value[:-1]


def complete(rule: str, without: str) -> str:
    """The body with its check digits: the inverse of `body` for values that obey the rule."""
    if rule == "mod97":
        return without[:2] + _iban_digits(without) + without[2:]
    return without + _LAST[rule]([int(c) for c in reversed(without) if c in string.digits])


def holds(rule: str, value: str) -> bool:
    """Whether a value obeys a rule."""
    return _fits(rule, value) and complete(rule, body(rule, value)) == value


def find_rule(values: Collection[object]) -> str | None:
    """The rule that the values, written out, obey as chance would not, if there is one."""
    if len(values) < FEWEST:
        return None
    for rule in CHECK_DIGITS:
        broken, allowed = 0, int((1 - HOLDING) * len(values))
        for value in values:
            broken += not holds(rule, str(value))
            if broken > allowed:
                break
        else:
            return rule
    return None


def _fits(rule: str, value: str) -> bool:
    """Whether a value has the characters that a rule is for: digits, but for separators and the letters of an IBAN."""
    if rule == "mod97":
        return len(value) > 8 and value.isascii() and value[:2].isalpha() and value[2:4].isdecimal()
    last = value[-1:]
    of_digits = value.isascii() and all(c in string.digits + "- ." for c in value[:-1])
    return of_digits and last != "" and last in endings(rule) and sum(c in string.digits for c in value[:-1]) >= SHORTEST_BODY


def _luhn(digits: Sequence[int]) -> str:
    """Every second digit from the right counts twice, as the sum of its own digits (ISO/IEC 7812-1)."""
    total = sum(sum(divmod(2 * d, 10)) if i % 2 == 0 else d for i, d in enumerate(digits))
    return str(-total % 10)


def _ean13(digits: Sequence[int]) -> str:
    """From the right the digits count three times and once, in turn (GS1 General Specifications)."""
    return str(-sum(d * (3 if i % 2 == 0 else 1) for i, d in enumerate(digits)) % 10)


def _isbn10(digits: Sequence[int]) -> str:
    """From the right the digits count twice, three times, and so on, modulo 11, where X is ten (ISO 2108:1992)."""
    return (string.digits + "X")[-sum(d * weight for weight, d in enumerate(digits, 2)) % 11]


_LAST: dict[str, Callable[[Sequence[int]], str]] = {"luhn": _luhn, "ean13": _ean13, "isbn10": _isbn10}


def _iban_digits(without: str) -> str:
    """The whole with 00 in place of the digits and the country at its end, letters from A as 10 on, modulo 97 (ISO 13616)."""
    spelled = "".join(str(int(c, 36)) for c in without[2:] + without[:2] if c.isascii() and c.isalnum())
    return f"{98 - int(spelled + '00') % 97:02d}"

"""One tree of errors: every error says the rule, the value that broke it and the next step.

`Terminal` errors will happen again however often the step is retried; `Transient` ones may pass. A scheduler
only needs that distinction; a person needs the message.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class SynthError(Exception):
    """Base of all errors raised on purpose by this product.

    `rule` is what must hold, `value` what was found, `advice` the next step for the person who reads it.
    """

    exit_code = 1

    def __init__(self, rule: str, *, value: str | None = None, advice: str | None = None) -> None:
        self.rule, self.value, self.advice = rule, value, advice
        parts = [rule.rstrip(".")]
        if value:
            parts.append(f"Found: {value.rstrip('.')}")
        if advice:
            parts.append(f"Next step: {advice.rstrip('.')}")
        super().__init__(". ".join(parts) + ".")


class Terminal(SynthError):
    """Running the step again cannot help: something has to be changed first."""

    exit_code = 2


class Transient(SynthError):
    """Running the step again may help: a lock, a lost connection, a full disk."""

    exit_code = 4


class ConfigurationError(Terminal):
    """The configuration or the schema file is wrong. Carries every fault found, not only the first."""

    def __init__(self, faults: Sequence[SynthError] | Sequence[str]) -> None:
        self.faults: tuple[str, ...] = tuple(str(f) for f in faults)
        count = len(self.faults)
        listed = self.faults[0] if count == 1 else "".join(f"\n  {i}. {f}" for i, f in enumerate(self.faults, 1))
        rule = listed if count == 1 else f"The configuration has {count} faults:{listed}"
        super().__init__(rule)


class SourceDataError(Terminal):
    """The source breaks its own declared keys and the policy is to stop, or a file of it is not what it has to be."""


class SchemaMismatch(Terminal):
    """A workspace or model belongs to another schema (its fingerprint differs)."""


class CorruptArtefact(Terminal):
    """A file of the workspace is not the one its manifest describes (sha256 differs) or is missing."""


class ValidationFailed(Terminal):
    """A staged table failed an expectation; the target was left as it was."""

    exit_code = 3


class PublicationRefused(Terminal):
    """Publishing would touch something this product must not touch (the source, somebody else's tables)."""


class WarehouseError(Terminal):
    """The warehouse refused a statement for a reason that a retry will not change."""

    exit_code = 4


class WarehouseUnavailable(Transient):
    """The warehouse could not be reached, or a lock could not be had in time."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Advice for a name that is not known: `did you mean 'a' or 'b'`, or nothing if no known name looks like it."""
    by_letters: dict[str, str] = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), by_letters, n=3)
    return f"did you mean {' or '.join(repr(by_letters[letters]) for letters in close)}" if close else ""

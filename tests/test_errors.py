"""Errors are advice: the rule, the value that broke it, the next step; by type they say whether to try again."""

from __future__ import annotations

import pytest

from synth_engine import errors
from synth_engine.errors import ConfigurationError, SynthError, Terminal, Transient, ValidationFailed, WarehouseError, WarehouseUnavailable


def test_a_message_says_rule_value_and_next_step() -> None:
    error = Terminal("A key must be unique.", value="3 duplicates", advice="set policy.duplicate_keys")
    assert str(error) == "A key must be unique. Found: 3 duplicates. Next step: set policy.duplicate_keys."
    assert (error.rule, error.value, error.advice) == ("A key must be unique.", "3 duplicates", "set policy.duplicate_keys")


def test_a_message_leaves_out_what_there_is_not() -> None:
    assert str(Terminal("The rule")) == "The rule."


def test_one_fault_of_a_configuration_is_the_message() -> None:
    assert str(ConfigurationError(["seed: must be a number"])) == "seed: must be a number."


def test_several_faults_of_a_configuration_are_counted_and_numbered() -> None:
    error = ConfigurationError([SynthError("a"), SynthError("b", advice="c")])
    assert error.faults == ("a.", "b. Next step: c.")
    assert str(error).splitlines() == ["The configuration has 2 faults:", "  1. a.", "  2. b. Next step: c."]


def test_every_error_is_either_terminal_or_transient() -> None:
    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, SynthError) and e is not SynthError]
    assert all(issubclass(kind, Terminal) != issubclass(kind, Transient) for kind in kinds)


@pytest.mark.parametrize(
    ("kind", "code"), [(ConfigurationError, 2), (ValidationFailed, 3), (WarehouseError, 4), (WarehouseUnavailable, 4), (SynthError, 1)]
)
def test_exit_codes_differ_by_what_a_person_has_to_do(kind: type[SynthError], code: int) -> None:
    assert kind.exit_code == code


@pytest.mark.parametrize(
    ("name", "advice"),
    [("custmer", "did you mean 'customer' or 'customers'"), ("ORDERS", "did you mean 'Orders'"), ("zzz", "")],
)
def test_a_name_that_is_not_known_is_answered_with_those_that_look_like_it(name: str, advice: str) -> None:
    assert errors.nearest(name, ["customers", "customer", "Orders"]) == advice

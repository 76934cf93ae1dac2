"""Airflow can discover the provider, and what it discovers is true."""

from __future__ import annotations

import json
from importlib import import_module, resources

import jsonschema
import pytest

import airflow_provider_synth
from airflow_provider_synth.get_provider_info import get_provider_info


def test_the_information_is_valid_against_the_schema_of_airflow() -> None:
    schema = json.loads(resources.files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


@pytest.mark.parametrize("part", ["hooks", "operators"])
def test_every_module_it_names_can_be_imported(part: str) -> None:
    for integration in get_provider_info()[part]:
        for module in integration["python-modules"]:
            assert import_module(module).__doc__


def test_every_public_name_of_the_package_can_be_had_from_it() -> None:
    for name in airflow_provider_synth.__all__:
        assert getattr(airflow_provider_synth, name) is not None


def test_a_name_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SynthTeleportOperator'"):
        airflow_provider_synth.SynthTeleportOperator  # noqa: B018

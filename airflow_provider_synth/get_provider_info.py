"""What Airflow learns about this provider when it discovers it."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Valid against Airflow's `provider_info.schema.json`; read through the entry point `apache_airflow_provider`."""
    integration = "Relational data synthesis"
    return {
        "package-name": "airflow-provider-synth",
        "name": "Synth",
        "description": "Learns a relational schema in a warehouse and writes back a synthetic twin of it.",
        "integrations": [{"integration-name": integration, "tags": ["service"]}],
        "hooks": [{"integration-name": integration, "python-modules": ["airflow_provider_synth.hooks.warehouse"]}],
        "operators": [{"integration-name": integration, "python-modules": ["airflow_provider_synth.operators.steps"]}],
    }

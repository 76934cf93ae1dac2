"""Refresh the synthetic twin of a schema.

Schedule it as it is (set `schedule`), or trigger it with other parameters. It needs two connections, which may be
the same warehouse: one that can read the real schema, one that can write the synthetic one.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_provider_synth.task_group import RUN_FOLDER, synth_refresh

AIRFLOW_HOME = Path(os.environ.get("AIRFLOW_HOME", "~/airflow")).expanduser()

with DAG(
    dag_id="synth_refresh",
    description="Learns a relational schema and publishes a synthetic twin of it",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,  # two runs would publish to the same schema
    default_args={"retries": 2, "retry_delay": timedelta(minutes=1)},
    tags=["synthetic data"],
    params={
        "source_conn_id": Param("synth_source", type="string", description="Connection that reads the real schema"),
        "target_conn_id": Param("synth_target", type="string", description="Connection that writes the synthetic schema"),
        "source_schema": Param(None, type=["null", "string"], description="The real schema; empty: the connection's default"),
        "target_schema": Param("synth", type=["null", "string"], description="The synthetic schema; empty: the connection's default"),
        "workspace": Param(
            str(AIRFLOW_HOME / "synth"),
            type="string",
            minLength=1,
            description="Folder or bucket prefix that all workers reach; every run gets a folder in it. It holds real data: protect it",
        ),
        "rows": Param({}, type="object", description="Rows wanted, by table; a table that is not named gets about as many as the real one"),
        "seed": Param(None, type=["null", "integer"], description="Seed of all randomness; empty: that of config, or 0"),
        "config": Param({}, type="object", description="All other settings, as in a configuration file"),
    },
) as dag:
    synth_refresh(
        group_id="refresh",
        source_conn_id="{{ params.source_conn_id }}",
        target_conn_id="{{ params.target_conn_id }}",
        source_schema="{{ params.source_schema or '' }}",
        target_schema="{{ params.target_schema or '' }}",
        workspace="{{ params.workspace.rstrip('/') }}/" + RUN_FOLDER,
        rows="{{ params.rows | tojson }}",
        seed="{{ '' if params.seed is none else params.seed }}",
        config="{{ params.config | tojson }}",
    )

"""A model on disk: JSON, LightGBM text and tensors without code. Every file is in the manifest with its sha256."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from synth_engine.encode.derived import Derivation
from synth_engine.encode.keys import KeyGenerator
from synth_engine.encode.places import Places
from synth_engine.encode.relative import Reference
from synth_engine.encode.table import TableEncoder
from synth_engine.errors import CorruptArtefact
from synth_engine.model.aggregates import Aggregate
from synth_engine.model.constants import Constant
from synth_engine.model.degrees import DegreeModel
from synth_engine.model.dependencies import Dependency
from synth_engine.model.network import NetworkShape, RowNetwork
from synth_engine.model.ordinals import Ordinal
from synth_engine.model.orphans import Orphans
from synth_engine.model.partners import Partners
from synth_engine.model.paths import Path
from synth_engine.model.skeleton import Skeleton
from synth_engine.model.state import KeyModel, Model, TableModel
from synth_engine.schema import ForeignKey, Provenance, Schema
from synth_engine.workspace import Workspace

FORMAT = 14


def write_model(model: Model, workspace: Workspace) -> None:
    """Write all files of a model below `Workspace.model`; the caller writes the manifest."""
    tables = []
    for number, (name, table) in enumerate(model.tables.items()):
        networks = {"rows": table.row_network, "links": table.link_network}
        for part, network in networks.items():
            if network is not None:
                stream = io.BytesIO()
                torch.save({k: v.cpu() for k, v in network.state_dict().items()}, stream)
                workspace.write_bytes(f"{workspace.model}/{number:03d}-{part}.pt", stream.getvalue())
        for i, key in enumerate(table.keys):
            if key.degrees.booster is not None:
                workspace.write_bytes(f"{workspace.model}/{number:03d}-degrees-{i}.txt", key.degrees.booster.model_to_string().encode())
        held_out = pa.table({"held_out": model.held_out[name], "alike": model.alike[name]})
        with workspace.open(workspace.held_out(name), "wb") as out:
            pq.write_table(held_out, out)
        if name in model.skeletons:
            with workspace.open(workspace.skeleton(name), "wb") as out:
                pq.write_table(model.skeletons[name].to_arrow(), out)
        tables.append(_table_to_json(table, {p: n.shape.to_json() if n else None for p, n in networks.items()}))
    workspace.write_json(workspace.categories, model.categories())
    content = {
        "format": FORMAT,
        "seed": model.seed,
        "cut_short": model.cut_short,
        "kept": model.kept,
        "structure": model.structure,
        "paths": [path.to_json() for path in model.paths],
        "schema": model.twin.to_dict(),
        "tables": tables,
    }
    workspace.write_bytes(f"{workspace.model}/model.json", json.dumps(content).encode())


def read_model(workspace: Workspace) -> Model:
    """Read a model whose files the caller has verified. Raises `CorruptArtefact` for a format of another release."""
    raw = json.loads(workspace.read_bytes(f"{workspace.model}/model.json"))
    if raw["format"] != FORMAT:
        raise CorruptArtefact(
            "A model must be of the format this release reads",
            value=f"format {raw['format']}, not {FORMAT}",
            advice="train again; in a workspace remove manifests/train.json first, which says that it is done",
        )
    facts = {name: raw[name] for name in ("seed", "cut_short", "kept", "structure")}
    model = Model(Schema.from_dict(raw["schema"]), {}, **facts, paths=[Path.from_json(path) for path in raw["paths"]])
    for number, table in enumerate(raw["tables"]):
        prefix = f"{workspace.model}/{number:03d}"
        model.tables[table["name"]] = _table_from_json(table, prefix, workspace)
        with workspace.open(workspace.held_out(table["name"])) as stream:
            marks = pq.read_table(stream)
        model.held_out[table["name"]] = np.asarray(marks["held_out"].to_numpy(), dtype=np.bool_)
        model.alike[table["name"]] = np.asarray(marks["alike"].to_numpy(), dtype=np.bool_)
        if workspace.exists(workspace.skeleton(table["name"])):
            with workspace.open(workspace.skeleton(table["name"])) as stream:
                model.skeletons[table["name"]] = Skeleton.from_arrow(pq.read_table(stream), table["rows"])
    return model


def _table_to_json(table: TableModel, shapes: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": table.name,
        "rows": table.rows,
        "owner": table.owner,
        "sequential": table.sequential,
        "keys_follow": table.keys_follow,
        "ordinal": None if table.ordinal is None else table.ordinal.to_json(),
        "joint_codes": table.joint_codes,
        "hidden_rows": None if table.hidden_rows is None else table.hidden_rows.tolist(),
        "types_alone": table.types_alone,
        "part_of": table.part_of,
        "derived": [one.to_json() for one in table.derived],
        "dependencies": [one.to_json() for one in table.dependencies],
        "aggregates": [one.to_json() for one in table.aggregates],
        "constants": [one.to_json() for one in table.constants],
        "places": [one.to_json() for one in table.places],
        "encoder": table.encoder.to_json(),
        "references": {c: [[r.source, r.key, r.column] for r in found] for c, found in table.references.items()},
        "key_generators": {c: g.to_json() for c, g in table.key_generators.items()},
        "shapes": shapes,
        "keys": [
            {
                "columns": list(k.key.columns),
                "parent": k.key.parent,
                "parent_columns": list(k.key.parent_columns),
                "provenance": k.key.provenance.value,
                "null_share": k.null_share,
                "deferred": k.deferred,
                "summary": k.summary,
                "depths": list(k.depths),
                "loop_share": k.loop_share,
                "orphan_share": k.key.orphan_share,
                "orphans": None if k.orphans is None else k.orphans.to_json(),
                "degrees": k.degrees.to_json(),
                "partners": None if k.partners is None else k.partners.to_json(),
                "settled_by": k.settled_by,
            }
            for k in table.keys
        ],
    }


def _table_from_json(raw: dict[str, Any], prefix: str, workspace: Workspace) -> TableModel:
    keys = []
    for i, k in enumerate(raw["keys"]):
        path = f"{prefix}-degrees-{i}.txt"
        booster = workspace.read_bytes(path).decode() if workspace.exists(path) else None
        key = ForeignKey(tuple(k["columns"]), k["parent"], tuple(k["parent_columns"]), Provenance(k["provenance"]), k["orphan_share"])
        summary = (k["summary"][0], k["summary"][1]) if k["summary"] else None
        degrees = DegreeModel.from_json(k["degrees"], booster)
        partners = None if k["partners"] is None else Partners.from_json(k["partners"])
        orphans = Orphans.from_json(k["orphans"]) if k["orphans"] else None
        of_rows = summary, tuple(k["depths"]), k["loop_share"], partners, orphans, tuple(k["settled_by"])
        keys.append(KeyModel(key, k["null_share"], k["deferred"], degrees, *of_rows))
    return TableModel(
        raw["name"],
        raw["rows"],
        keys,
        raw["owner"],
        raw["sequential"],
        TableEncoder.from_json(raw["encoder"]),
        {c: [Reference(*r) for r in found] for c, found in raw["references"].items()},
        {c: KeyGenerator.from_json(g) for c, g in raw["key_generators"].items()},
        raw["keys_follow"],
        None if raw["ordinal"] is None else Ordinal.from_json(raw["ordinal"]),
        _network(raw["shapes"]["rows"], f"{prefix}-rows.pt", workspace),
        _network(raw["shapes"]["links"], f"{prefix}-links.pt", workspace),
        raw["joint_codes"],
        None if raw["hidden_rows"] is None else np.array(raw["hidden_rows"], dtype=np.int32),
        types_alone=raw["types_alone"],
        part_of=raw["part_of"],
        derived=[Derivation.from_json(one) for one in raw["derived"]],
        dependencies=[Dependency.from_json(one) for one in raw["dependencies"]],
        aggregates=[Aggregate.from_json(one) for one in raw["aggregates"]],
        constants=[Constant.from_json(one) for one in raw["constants"]],
        places=[Places.from_json(one) for one in raw["places"]],
    )


def _network(shape: dict[str, Any] | None, path: str, workspace: Workspace) -> RowNetwork | None:
    if shape is None:
        return None
    network = RowNetwork(NetworkShape.from_json(shape))
    network.load_state_dict(torch.load(io.BytesIO(workspace.read_bytes(path)), weights_only=True, map_location="cpu"))
    return network.eval()

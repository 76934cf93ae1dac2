"""The last step: the twin beside the source, in scores, privacy figures and one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from synth_engine.polymorphic import with_hidden_columns, with_hidden_keys
from synth_engine.progress import Advance, Listener, ignore
from synth_engine.schema import Kind, Schema
from synth_engine.snapshot import read_table
from synth_engine.workspace import STEPS, Manifest, Workspace

if TYPE_CHECKING:
    import pandas as pd


def assess(workspace: Workspace, schema: Schema, seed: int, listener: Listener = ignore) -> dict[str, Any]:
    """Write `Workspace.report` and `Workspace.scores`; returns the facts of the step."""
    from synth_engine.privacy.attacks import closest_records
    from synth_engine.quality.fidelity import score
    from synth_engine.quality.report import build_report_input, render

    manifests = {step: found for step in STEPS if (found := workspace.manifest(step)) is not None}
    for step in ("extract", "train", "generate"):
        workspace.verify(manifests[step])
    real, synthetic = (_frames(workspace, folder, schema) for folder in (workspace.snapshot, workspace.synthetic))
    schema = with_hidden_keys(schema)  # of polymorphic references, each type has degrees and joins of its own
    fidelity = score(schema, real, synthetic, seed=seed, listener=listener)
    privacy, advance = {}, Advance("report", "closest records", listener)
    rows = {name: len(frame) for name, frame in synthetic.items()}
    kept = manifests["train"].facts["kept"]
    for name, table in ((name, table) for name, table in schema.tables.items() if name not in kept):
        held_out, alike = _marks(workspace, name)
        columns = [c for c in table.columns if c.name not in table.key_columns and c.kind is not Kind.IDENTIFIER]
        trained, unseen = real[name][~held_out], real[name][held_out]
        privacy[name] = closest_records(trained, unseen, synthetic[name], columns, alike=real[name][alike], seed=seed).to_dict()
        advance(rows[name], sum(rows.values()))
    validation = {k: manifests["validate"].facts[k] for k in ("passed", "expectations", "failures", "checks")}
    page = render(
        build_report_input(
            schema,
            real,
            synthetic,
            fidelity,
            privacy=privacy,
            validation=validation,
            entities=manifests["train"].facts.get("entities", ()),  # trained by the release before, it says nothing of them
            rules=manifests["train"].facts.get("rules", ()),
            protections=_told(manifests["train"].facts["protected"]),
            steps=[(step, manifests[step].facts["seconds"]) for step in STEPS if step in manifests],
            versions=manifests["generate"].versions,
            seed=manifests["generate"].seed,
            notes=_notes(schema, manifests),
            warnings=_warnings(schema, manifests["train"].facts),
        )
    )
    workspace.write_bytes(workspace.report, page.encode())
    workspace.write_json(workspace.scores, {"fidelity": fidelity.to_dict(), "privacy": privacy})
    return {"summary": fidelity.summary, "privacy": privacy, "path": workspace.report}


def _frames(workspace: Workspace, folder: Callable[[str], str], schema: Schema) -> dict[str, pd.DataFrame]:
    tables = {name: read_table(workspace, folder(name), table) for name, table in schema.tables.items()}
    return {name: table.to_pandas() for name, table in with_hidden_columns(schema, tables).items()}


def _marks(workspace: Workspace, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows of the snapshot that were held out, and as many that were learned, chosen alike."""
    with workspace.open(workspace.held_out(name)) as stream:
        marks = pq.read_table(stream)
    held_out, alike = (np.asarray(marks[kind].to_numpy(), dtype=np.bool_) for kind in ("held_out", "alike"))
    return held_out, alike


def _told(of_columns: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    return [f"{table}.{column}: {what}" for table, columns in of_columns.items() for column, found in columns.items() for what in found]


def _warnings(schema: Schema, facts: Mapping[str, Any]) -> list[str]:
    """What of the twin is real, less protected, or broken, on purpose; `facts` are those of training."""
    kept, structure = facts["kept"], facts["structure"]
    found = [f"These tables are real, not synthetic, and not part of the privacy figures: {', '.join(kept)}."] if kept else []
    if entities := [name for name in facts["entity_tables"] if name not in kept and schema.tables[name].foreign_keys]:
        found.append(f"As the settings say, values are protected for each row of {', '.join(entities)}, not for whom it refers to.")
    if structure == "original":
        found.append(
            "Which row refers to which is as in the source. Who knows a part of its graph can find the same part here: give this twin "
            "to trusted people only."
        )
    broken = [(k.label(n), k.orphan_share) for n, table in schema.tables.items() for k in table.foreign_keys if k.orphan_share]
    if broken:
        shares = ", ".join(f"{label} ({share:.2%} of the rows)" for label, share in broken)
        found.append(f"These keys have orphans, as the source does, and are not declared in the target: {shares}.")
    return found


def _notes(schema: Schema, manifests: dict[str, Manifest]) -> list[str]:
    """What a reader should know: what could not be kept, faults of the source, and whether the run can be repeated."""
    notes = [f"{name}: {note}" for name, table in schema.tables.items() for note in table.notes]
    notes += _told(manifests["generate"].facts["changed"])
    notes += [f"source: {fault}" for fault in manifests["extract"].facts["key_faults"]]
    if not manifests["train"].facts["reproducible"]:
        notes.append("training was cut short by its time budget: the same seed may give another twin")
    return notes

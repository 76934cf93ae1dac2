"""The names of the scores in `Fidelity.summary`, each with its title and what it compares, wherever a person sees them."""

from __future__ import annotations

SCORES = {
    "shapes": ("Shapes", "each column by itself"),
    "pairs": ("Pairs", "pairs of columns"),
    "cardinality": ("Cardinality", "children per parent"),
    "parent_child": ("Parent–child", "children given their parent"),
    "siblings": ("Siblings", "children of one parent among each other"),
}
"""1 is best."""

DETECTION = {
    "detection": ("Detection, rows", "how often a classifier tells a synthetic row from a real one"),
    "detection_with_children": ("Detection, with children", "the same, given averages over each row's children"),
}
"""0.5 is best."""

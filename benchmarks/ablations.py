"""What each part of the engine buys and costs: the same comparison as `benchmarks.compare`, with one part left out or changed.

    python -m benchmarks.ablations [--data FOLDER ...] [--variants VARIANT ...] [--seeds SEED ...] [--cap SECONDS] [--out FOLDER]

Results are kept under --out as those of a comparison are, and share its halves; `benchmarks.variants` says what the variants are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from benchmarks.compare import HOME, compare, end_with_peers, read_data
from benchmarks.page import markdown, show_briefly
from benchmarks.variants import VARIANTS
from synth_engine.errors import SynthError

FIGURES = ("shapes", "pairs", "parent_child", "siblings", "c2st", "c2st_children", "utility", "closer", "train_seconds", "generate_seconds")


def main() -> int:
    console = Console()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablations", description="What each part buys and costs.")
    parser.add_argument("--data", nargs="+", type=Path, default=[], metavar="FOLDER", help="as for benchmarks.compare")
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT", help=f"of {', '.join(VARIANTS)}"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="SEED", help="default: 0 1 2")
    parser.add_argument("--cap", type=float, default=240.0, metavar="SECONDS", help="training time a table (default: 240)")
    parser.add_argument("--out", type=Path, default=HOME / "results", metavar="FOLDER", help=f"default: {HOME / 'results'}")
    arguments = parser.parse_args()
    end_with_peers()
    try:
        systems = ["ours", *(f"ours:{name}" for name in arguments.variants)]
        results = compare(read_data(arguments.data), systems, arguments.seeds, arguments.cap, arguments.out, console)
    except SynthError as error:
        console.print(str(error), markup=False)
        return error.exit_code
    show_briefly(results, FIGURES, console)
    caption = "What each part buys and costs, by leaving it out or changing it. What each figure means: docs/benchmark.md."
    (arguments.out / "ablations.md").write_text(markdown(results, caption), encoding="utf-8")
    console.print(f"Written: {arguments.out / 'ablations.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

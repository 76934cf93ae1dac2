"""The command line as a module: `python -m synth_engine …`, which is what `torchrun` can start."""

from synth_engine.cli import entry

entry()

"""`python -m synth_engine`: the same as the command `synth`."""

from synth_engine.cli import entry

entry()

"""What the twin is worth: the source's profile, checks of the staged tables, fidelity scores and the report.

Every module below but `scores` loads heavy libraries; import them where a step runs, never from a module that is parsed early.
"""

"""Hostile bytes for every parser: `python -m tests.fuzzing` (`make fuzz`) until its time is over.

Inputs are grown from the corpus beside this file, of which a test parses every one. What was
refused in a place where nothing was refused before is grown further; so inputs wander into every
corner of a parser without anything that watches its lines, which plain Python cannot do cheaply.
"""

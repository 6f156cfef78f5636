"""Takes each defence out of a verifier, one at a time, and sees whether a test notices.

`python -m tests.mutants` (`make mutants`) plays them all; what is known to survive, and why that is
right, stands in docs/mutants.md. Nothing here imports what it changes: see `playing`.
"""

"""Every secret-key operation of the project: identities, keys, wraps, proofs, cells.

Pure: no files, no network, no clock. Randomness is drawn here and nowhere passed in, so that
nothing secret can be repeated by a caller.
"""

"""The same table through what users would take instead: `make bench-peers`.

Each peer seals the same cells as its own documentation says to, a key for each field, bound to
their place where it has something for that. Nothing that a peer does not offer is built for it.
"""

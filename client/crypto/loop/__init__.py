"""The compiled loop of `client.crypto.engines.compiled`; `_loop` is there where it was built."""

"""The command line: a thin layer over `client.home` and `client.vault`."""

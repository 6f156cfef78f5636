"""Runnable examples, and the table that they use."""

"""What both sides must agree on: values, rules and verification (SPEC.md is the normative text).

No I/O, no clock, no randomness, no secret, and nothing that can decrypt. Start at `ledger`
for the rules, at `acts` and `api` for the messages, at `wire` for how messages are declared.
"""

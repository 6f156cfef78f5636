"""The server: it keeps what members seal, checks what they sign, and opens nothing."""

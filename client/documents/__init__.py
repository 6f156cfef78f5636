"""Documents: files of any size, sealed in chunks, that go with the tables (SPEC section 7.6).

A document is one upload to a collection of one field: a cell for each chunk, and a cell of the
collection's catalog that says what the file is called. So all that holds for tables holds for
documents. `chunks` knows how a file is cut, `entries` what there is, `attaching` brings one in,
`getting` takes one out, `checking` looks whether all are whole, `removing` erases one.
"""

"""The containers that rows come in: JSON lines and documents, separated text, Parquet and Arrow; each a reader.

A reader takes a file and gives its `Form`, which is known before a row is read, and its rows, which are read when they
are iterated over. `mars.preferences.sources` chooses the reader by the file's name. `json_rows` reads JSON, `tables`
the rest; `raw` is a row as it is stored.
"""

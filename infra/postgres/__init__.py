"""Postgres: the copy of the books that is queried. The writer fills it, the reader answers from it."""

"""One script a question; each prints a table and a JSON line."""

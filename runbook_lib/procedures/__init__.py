"""The steps of notebooks 00 to 05 and 07, as classes that a notebook or a test calls."""

"""The same measurements on a GPU."""

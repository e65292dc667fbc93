"""The commands of the command line, and how functions become commands."""

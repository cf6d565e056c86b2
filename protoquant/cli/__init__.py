"""The command line: each verb a thin adapter over one function; the only typer imports."""

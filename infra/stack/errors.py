"""The one error of the stack."""


class StackError(Exception):
    """Something expected went wrong; the text is one line that says what to do."""

"""Text from outside on its way to a terminal."""


def printable(text: str) -> str:
    """Return `text` with what a terminal would obey (escapes, line ends) shown as code points instead."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)

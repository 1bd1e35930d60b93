"""Text from outside on its way to a terminal."""


def printable(text: str) -> str:
    """Return `text` with what a terminal would obey (escapes, line ends) shown as code points instead."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def printable_lines(text: str) -> str:
    """Return `text` as `printable` does, but with its line ends; each further line is set in, so that none looks first."""
    return "\n  ".join(printable(line) for line in text.split("\n"))

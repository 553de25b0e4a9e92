"""Text from a stranger, made safe to show: what a terminal or a page would obey instead of show becomes visible."""


def clean(text: str) -> str:
    r"""The same text on one line, with everything that does not print written as its escape.

    That covers control characters (so line ends and ANSI sequences), bidirectional and zero-width marks, unusual
    spaces, private and unassigned characters and lone surrogates: an escape sequence for red is shown as `\x1b[31m`.
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)

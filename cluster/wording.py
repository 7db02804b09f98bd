"""Numbers in words."""


def counted(count: float, noun: str) -> str:
    """A number and its noun, in the singular for one: 1 GPU, 2 searches."""
    number = str(int(count)) if count == int(count) else f"{count:g}"
    return f"{number} {noun}" + ("" if count == 1 else "es" if noun.endswith("search") else "s")


def gigabytes(count: int) -> str:
    """Bytes in GB, with one decimal place."""
    return f"{count / 1e9:.1f} GB"

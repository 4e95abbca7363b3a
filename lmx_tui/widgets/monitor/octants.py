"""Octants: block characters of two columns and four rows, which Unicode 16 added. Pure.

A cell has the positions 1 to 8, row by row from the top left; bit 0 stands for position 1. The shapes that older blocks
of Unicode have already are missing from the range of octants, which is otherwise in the order of the bits.
"""

FIRST = 0x1CD00
QUADRANTS = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
"""Shapes of two rows; bit 0 stands for the upper left quarter, bits 1 to 3 for upper right, lower left, lower right."""
OTHERS = {
    0b00000001: "\U0001cea8", 0b00000010: "\U0001ceab", 0b00000011: "\U0001fb82", 0b01000000: "\U0001cea3",
    0b10000000: "\U0001cea0", 0b11000000: "▂", 0b00111111: "\U0001fb85", 0b11111100: "▆",
    0b00010100: "\U0001fbe6", 0b00101000: "\U0001fbe7",
}  # fmt: skip
"""Shapes of four rows that have a character outside the range of octants."""


def _quadrant_bits(shape: int) -> int:
    """Return the bits of a shape of quarters as bits of eighths."""
    upper, lower = shape & 0b11, shape >> 2
    return upper | upper << 2 | lower << 4 | lower << 6


def _shapes() -> tuple[str, ...]:
    known = {_quadrant_bits(shape): character for shape, character in enumerate(QUADRANTS)} | OTHERS
    free = iter(range(FIRST, FIRST + 256))
    return tuple(known.get(bits) or chr(next(free)) for bits in range(256))


SHAPES = _shapes()
"""The character of each combination of bits."""
LEFT, RIGHT = (1 << 6, 1 << 4, 1 << 2, 1 << 0), (1 << 7, 1 << 5, 1 << 3, 1 << 1)
"""Bits of the left and the right column, from the bottom."""

"""A reliability diagram as SVG text: the share of right answers against their score, and how many there are.

On the diagonal scores are true; below it they boast. Draws without any library; knows nothing of files.
"""

from collections.abc import Sequence
from html import escape

from ..metrics.reliability import ReliabilityBin, expected_calibration_error

_SIDE, _MARGIN = 320, 48  # of the plot and of the room around it, pixels
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_COLOUR = "#1f6fb4"


def reliability_diagram(bins: Sequence[ReliabilityBin], title: str) -> str:
    """
    The SVG of a diagram.

    Args:
        bins: of `reliability_bins`; at least one.
        title: what was measured, such as "val".

    Raises:
        ValueError: there are no bins.
    """
    if not bins:
        raise ValueError("There are no answers to draw: give the bins of at least one.")
    error, answers = expected_calibration_error(bins), sum(entry.count for entry in bins)
    size = _SIDE + 2 * _MARGIN
    middle = _MARGIN + _SIDE / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}" viewBox="0 0 {size} {size}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{size}" height="{size}" fill="white"/>',
        _text(middle, 20, f"{title}: ECE {error:.4f} of {answers} answers"),
        _text(middle, size - 8, "score"),
        _text(14, middle, "share of right answers", f' transform="rotate(-90 14 {middle:g})"'),
        f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#888"/>',
        f'<path d="M{_x(0)} {_y(0)}L{_x(1)} {_y(1)}" stroke="#888" stroke-dasharray="4 4"/>',
    ]
    for tick in _TICKS:
        parts.append(_text(_x(tick), _y(0) + 16, f"{tick:g}"))
        parts.append(_text(_x(0) - 14, _y(tick) + 4, f"{tick:g}"))
    line = "L".join(f"{_x(entry.score)} {_y(entry.right)}" for entry in bins)
    parts.append(f'<path d="M{line}" fill="none" stroke="{_COLOUR}"/>')
    for entry in bins:
        told = f"score {entry.score:.3f}, right {entry.right:.3f}, {entry.count} answers"
        parts.append(
            f'<circle cx="{_x(entry.score)}" cy="{_y(entry.right)}" r="4" fill="{_COLOUR}">'
            f"<title>{told}</title></circle>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="middle"{more}>{escape(text)}</text>'


def _x(score: float) -> float:
    return round(_MARGIN + _SIDE * score, 1)


def _y(share: float) -> float:
    return round(_MARGIN + _SIDE * (1 - share), 1)


__all__ = ["reliability_diagram"]

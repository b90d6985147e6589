"""Quality against cost as SVG: no plotting library is worth a dependency for one picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from routeiq_plugin.routing.evaluation import Evaluation, Point

WIDTH: Final = 720
HEIGHT: Final = 480
_MARGIN: Final = 60
_TICKS: Final = 6


class _Axes:
    def __init__(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        self.low_x, self.high_x = 0.0, max(1.05, *xs)
        spread = max(ys) - min(ys) or 0.1
        self.low_y, self.high_y = min(ys) - 0.08 * spread, max(ys) + 0.08 * spread

    def x(self, value: float) -> float:
        return _MARGIN + (value - self.low_x) / (self.high_x - self.low_x) * (WIDTH - 2 * _MARGIN)

    def y(self, value: float) -> float:
        return HEIGHT - _MARGIN - (value - self.low_y) / (self.high_y - self.low_y) * (HEIGHT - 2 * _MARGIN)


def svg(found: Evaluation) -> str:
    """Draw the curve over all cost weights, the objectives, and what they are compared with."""
    points = (*found.points, found.best_single)
    axes = _Axes(
        [*(each.cost_share for each in points), *(cost for cost, _ in found.curve)],
        [*(each.quality_share for each in points), *(share for _, share in found.curve)],
    )
    body = "\n".join((*_frame(axes), _line(found.curve, axes), *(_mark(each, axes) for each in points)))
    title = escape(f"{found.artifact} on {found.rows} prompts")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="{WIDTH / 2}" y="28" text-anchor="middle" font-size="15">{title}</text>\n{body}\n</svg>\n'
    )


def _frame(axes: _Axes) -> Iterator[str]:
    bottom, right = HEIGHT - _MARGIN, WIDTH - _MARGIN
    yield f'<path d="M{_MARGIN} {_MARGIN}V{bottom}H{right}" fill="none" stroke="black"/>'
    for step in range(_TICKS + 1):
        x = axes.low_x + (axes.high_x - axes.low_x) * step / _TICKS
        y = axes.low_y + (axes.high_y - axes.low_y) * step / _TICKS
        yield f'<text x="{axes.x(x):.1f}" y="{bottom + 18}" text-anchor="middle">{x:.2f}</text>'
        yield f'<text x="{_MARGIN - 8}" y="{axes.y(y) + 4:.1f}" text-anchor="end">{y:.2f}</text>'
        yield f'<path d="M{_MARGIN} {axes.y(y):.1f}H{right}" stroke="#ddd"/>'
    yield f'<text x="{WIDTH / 2}" y="{HEIGHT - 15}" text-anchor="middle">cost, share of the best single model</text>'
    yield (
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        "quality, share of the best single model</text>"
    )


def _line(curve: Sequence[tuple[float, float]], axes: _Axes) -> str:
    places = " ".join(f"{axes.x(cost):.1f},{axes.y(share):.1f}" for cost, share in curve)
    return f'<polyline points="{places}" fill="none" stroke="#1f77b4" stroke-width="1.5"/>'


def _mark(point: Point, axes: _Axes) -> str:
    x, y = axes.x(point.cost_share), axes.y(point.quality_share)
    ours = point.name.startswith("objective")
    colour = "#1f77b4" if ours else "#d62728"
    label = point.name.removeprefix("objective quality ")
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
        f'<text x="{x + 7:.1f}" y="{y - 6:.1f}" fill="{colour}">{escape(label)}</text>'
    )

"""Quality against cost as SVG, without a library for one picture; as PNG where matplotlib is installed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from routeiq_plugin.errors import InvalidRequest, MissingExtra
from routeiq_plugin.routing.evaluation import Evaluation, Point

WIDTH: Final = 720
HEIGHT: Final = 480
_DPI: Final = 100
_OURS: Final = "#1f77b4"
_THEIRS: Final = "#d62728"
_X: Final = "cost, share of the best single model"
_Y: Final = "quality, share of the best single model"
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


Drawer = Callable[[Evaluation], bytes]


def drawer_of(path: Path) -> Drawer:
    """Return what draws a file of this name; raises `InvalidRequest`, or `MissingExtra` with the pip command."""
    drawer = _DRAWERS.get(path.suffix.lower())
    if drawer is None:
        raise InvalidRequest(f"{path.name}: write a name that ends in {' or '.join(_DRAWERS)}")
    if drawer is png:
        _require_matplotlib()
    return drawer


def svg(found: Evaluation) -> bytes:
    """Draw the curve over all cost weights, the objectives, and what they are compared with."""
    points = (*found.points, found.best_single)
    axes = _Axes(
        [*(each.cost_share for each in points), *(cost for cost, _ in found.curve)],
        [*(each.quality_share for each in points), *(share for _, share in found.curve)],
    )
    body = "\n".join((*_frame(axes), _line(found.curve, axes), *(_mark(each, axes) for each in points)))
    title = escape(_title(found))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12">\n<rect width="100%" height="100%" fill="white"/>\n'
        f'<text x="{WIDTH / 2}" y="28" text-anchor="middle" font-size="15">{title}</text>\n{body}\n</svg>\n'
    ).encode()


def png(found: Evaluation) -> bytes:
    """Draw the same with matplotlib."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / _DPI, HEIGHT / _DPI), dpi=_DPI, layout="tight")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(title=_title(found), xlabel=_X, ylabel=_Y)
    axes.grid(color="#ddd")
    axes.plot(*zip(*found.curve, strict=True), color=_OURS, linewidth=1.5)
    for point in (*found.points, found.best_single):
        axes.plot(point.cost_share, point.quality_share, "o", color=_colour(point), markersize=5)
        at = (point.cost_share, point.quality_share)
        axes.annotate(_label(point), at, (5, 5), textcoords="offset points", color=_colour(point), fontsize=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    return drawn.getvalue()


_DRAWERS: Final[Mapping[str, Drawer]] = {".svg": svg, ".png": png}


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401  asked before the work, not after it
    except ImportError:
        raise MissingExtra("matplotlib", "plot") from None


def _title(found: Evaluation) -> str:
    return f"{found.artifact} on {found.rows} prompts"


def _frame(axes: _Axes) -> Iterator[str]:
    bottom, right = HEIGHT - _MARGIN, WIDTH - _MARGIN
    yield f'<path d="M{_MARGIN} {_MARGIN}V{bottom}H{right}" fill="none" stroke="black"/>'
    for step in range(_TICKS + 1):
        x = axes.low_x + (axes.high_x - axes.low_x) * step / _TICKS
        y = axes.low_y + (axes.high_y - axes.low_y) * step / _TICKS
        yield f'<text x="{axes.x(x):.1f}" y="{bottom + 18}" text-anchor="middle">{x:.2f}</text>'
        yield f'<text x="{_MARGIN - 8}" y="{axes.y(y) + 4:.1f}" text-anchor="end">{y:.2f}</text>'
        yield f'<path d="M{_MARGIN} {axes.y(y):.1f}H{right}" stroke="#ddd"/>'
    yield f'<text x="{WIDTH / 2}" y="{HEIGHT - 15}" text-anchor="middle">{_X}</text>'
    yield (f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">{_Y}</text>')


def _line(curve: Sequence[tuple[float, float]], axes: _Axes) -> str:
    places = " ".join(f"{axes.x(cost):.1f},{axes.y(share):.1f}" for cost, share in curve)
    return f'<polyline points="{places}" fill="none" stroke="{_OURS}" stroke-width="1.5"/>'


def _mark(point: Point, axes: _Axes) -> str:
    x, y = axes.x(point.cost_share), axes.y(point.quality_share)
    colour, label = _colour(point), escape(_label(point))
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
        f'<text x="{x + 7:.1f}" y="{y - 6:.1f}" fill="{colour}">{label}</text>'
    )


def _colour(point: Point) -> str:
    return _OURS if point.name.startswith("objective") else _THEIRS


def _label(point: Point) -> str:
    return point.name.removeprefix("objective quality ")

"""What figures share: the style sheet, sizes, colours, and how picture and numbers are written.

A function that draws is decorated with ``@styled()``, takes its figure from :func:`new_figure` and
hands it to :func:`save_figure`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssah_exp.config.vocabulary import ALIGNED, UNALIGNED
from ssah_exp.errors import ConfigError
from ssah_exp.folders import listed
from ssah_exp.reporting.text import inert
from ssah_exp.storage import whole_path, write_atomically
from ssah_exp.units.agreement import Spread

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE_SHEET = Path(__file__).with_name("ssah.mplstyle")
# Inches: the text width of a page, and one of its two columns.
PAGE, COLUMN = 7.0, 3.4
# Okabe and Ito's palette, told apart by colour-blind readers; grey for the bulk, dark enough for
# marks on white (WCAG: 3 to 1).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
GREY = "#8A8A8A"
CLASS_COLOURS = {
    "SCU": "#D55E00",
    "UCU": "#0072B2",
    "CU": GREY,
    "RU": "#009E73",
    "utility": "#C68400",
    "redundant": "#009E73",
}
# Classes can be told apart without colour, too.
CLASS_MARKERS = {"SCU": "o", "UCU": "s", "CU": "^", "RU": "D"}
SIDE_COLOURS = {"benign": "#0072B2", "malicious": "#D55E00"}
MODEL_COLOURS = {UNALIGNED: "#CC79A7", ALIGNED: "#009E73"}
# Of the same hues, and dark enough for thin marks on white (WCAG: 3 to 1).
CONTROL_COLOURS = {
    "random": "#3D9AD1",
    "matched": "#CC79A7",
    "shifted": "#C68400",
    "normed": "#332288",
}
CONTROL_MARKERS = {"": "o", "random": "x", "matched": "^", "shifted": "s", "normed": "D"}
BEYOND = 1e100  # perplexities of destroyed models reach float64's end; no axis does
_PLAIN = 1e5  # the widest range in which numbers are written out
# Written without a date: the same numbers give the same file.
_UNDATED = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


@contextmanager
def styled() -> Iterator[None]:
    """The project's style sheet and nothing of the user's own settings; also a decorator."""
    from matplotlib import style

    with style.context(STYLE_SHEET, after_reset=True):
        yield


def distinct_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name: the palette, or evenly spaced hues where it is too short."""
    if len(names) <= len(PALETTE):
        return dict(zip(names, PALETTE, strict=False))
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    hues = colormaps["turbo"](np.linspace(0.04, 0.96, len(names)))
    return {name: to_hex(hue) for name, hue in zip(names, hues, strict=True)}


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, bound to no window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def on_the_edge(
    axes: Axes,
    rows: pd.DataFrame,
    columns: Sequence[str],
    marks: str = "highest",
    top: float = 0.98,
) -> pd.DataFrame:
    """Rows with overflowed values set above all others, and a note on the axes that says so.

    matplotlib leaves infinite points out, and a reader would take them for not measured.

    Args:
        axes: Where the rows are drawn.
        rows: Their numbers.
        columns: Which of them may have overflowed.
        marks: Which marks the note is about.
        top: Where the note stands, as a share of the height of the axes.
    """
    numbers = rows[list(columns)].astype("float64")
    beyond = numbers > BEYOND
    if not beyond.to_numpy().any():
        return rows
    highest = numbers.mask(beyond).max().max()
    edge = 10 * (float(highest) if pd.notna(highest) else 1.0)
    axes.annotate(f"{marks} marks: infinite", (0.02, top), xycoords="axes fraction", va="top")
    return rows.assign(**numbers.mask(beyond, edge))


def log_where_wide(axes: Axes, along: Literal["x", "y"] = "y") -> None:
    """A logarithmic axis where that says more, with enough plain numbers to read values off.

    Without a value above 0 there is no scale, and the axis stays as it is.
    """
    from matplotlib.ticker import AutoLocator, LogLocator, NullFormatter

    limits = axes.get_xlim if along == "x" else axes.get_ylim
    low, high = limits()
    positive = axes.dataLim.minposx if along == "x" else axes.dataLim.minposy
    if high < 2 * low or (low <= 0 and not np.isfinite(positive)):
        return
    axes.set(**{f"{along}scale": "log"})
    low, high = limits()
    if high > _PLAIN * low:  # powers of ten alone
        return
    # Only a range that wide holds two of 1, 2, 5, 10, ... wherever it begins.
    wide = high >= 5 * low
    axis = axes.xaxis if along == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)) if wide else AutoLocator())
    axis.set_major_formatter("{x:.9g}")  # matplotlib's own would divide all by a power of ten
    axis.set_minor_formatter(NullFormatter())


def named_once(axes: Axes) -> None:
    """Let every label appear only once in the legend."""
    seen: set[str] = set()
    for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
        if label in seen:
            handle.set_label("_")
        seen.add(label)


def ends_of(spreads: Sequence[Spread | None]) -> tuple[NDArray[np.float64], ...]:
    """Means, lower and upper ends, ``(n,)`` float64 each; NaN is a gap."""
    return tuple(
        np.array([None if item is None else getattr(item, end) for item in spreads], dtype=float)
        for end in ("mean", "low", "high")
    )


def whiskers(
    values: NDArray[np.float64], lows: NDArray[np.float64], highs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Lengths of error bars below and above, ``(2, n)``; 0 where an end is a gap."""
    lengths: NDArray[np.float64] = np.nan_to_num(np.maximum([values - lows, highs - values], 0))
    return lengths


def numbered(path: Path, count: int) -> list[Path]:
    """A path per picture: ``path`` itself for one, else its name with numbers from 0."""
    if count == 1:
        return [path]
    return [path.with_stem(f"{path.stem}-{number}") for number in range(count)]


# matplotlib could write these, too: pixels without a header, and what needs a TeX installation.
_NOT_OFFERED = {"pgf", "raw", "rgba"}


def units_table(path: Path) -> Path:
    """Where a picture's numbers of single units lie, beside its other ones."""
    return path.with_name(f"{path.stem}-units.csv")


def check_picture(path: Path, *more: Path) -> None:
    """Refuse a picture that could not be written, before anything is computed for it.

    Its numbers go into a CSV of the same name; one that lies there without a picture is not a
    figure's, and is not overwritten.

    Args:
        path: Where to write.
        more: Further tables that go with the picture.

    Raises:
        ConfigError: No suffix, one of an unknown format, or a CSV of such a name that no picture
            belongs to.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    allowed = FigureCanvasBase.get_supported_filetypes().keys() - _NOT_OFFERED
    kind = _format(path)
    if not kind:
        raise ConfigError(f"'{path}' has no suffix to say the format by, e.g. {path.name}.svg.")
    if kind not in allowed:
        raise ConfigError(f"Cannot write '{path.suffix}'. Allowed: {', '.join(sorted(allowed))}.")
    for table in (path.with_suffix(".csv"), *more):
        if table.exists() and not any(
            place.stem == path.stem and _format(place) in allowed for place in listed(path.parent)
        ):
            raise ConfigError(
                f"'{table}' is there and belongs to no picture; the numbers of '{path.name}' would "
                "overwrite it. Choose another name."
            )


def _format(path: Path) -> str:
    """What the suffix says, in capitals or not: ``png``."""
    return path.suffix.lstrip(".").lower()


def save_figure(figure: Figure, path: Path, numbers: pd.DataFrame) -> Path:
    """Write a picture, and the numbers in it as CSV beside it.

    Args:
        figure: What was drawn.
        path: Where to; the suffix decides the format.
        numbers: What the picture shows.

    Returns:
        The CSV's path.

    Raises:
        ConfigError: A suffix that cannot be written.
        StoreError: The disk is full or not writable.
    """
    check_picture(path)
    _without_mathematics(figure)
    with whole_path(path) as temporary, styled():
        figure.savefig(temporary, format=_format(path), metadata=_UNDATED.get(_format(path)))
    return save_numbers(path.with_suffix(".csv"), numbers)


def _without_mathematics(figure: Figure) -> None:
    """Draw names as they are: matplotlib takes what stands between dollar signs for mathematics.

    Its own numbers on logarithmic axes are mathematics and stay so.
    """
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        if axis.get_scale() == "log":
            for label in axis.get_ticklabels(which="both"):
                label.set_parse_math(True)


def save_numbers(path: Path, numbers: pd.DataFrame) -> Path:
    """Write a table of numbers as CSV, eight significant digits each, without formulas in names.

    Raises:
        StoreError: The disk is full or not writable.
    """
    text = inert(numbers).to_csv(index=False, float_format="%.8g", lineterminator="\n")
    write_atomically(path, text)
    return path

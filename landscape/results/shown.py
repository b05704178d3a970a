"""How a result shows itself in a session and in a notebook, and how it turns into tables and figures."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

from landscape._drawing import draw
from landscape.errors import LandscapeError, MissingExtraError, shortened
from landscape.results.dataset import Contents, to_dataset
from landscape.results.table import Table
from landscape.results.units import resolved, unit_of

if TYPE_CHECKING:  # slow to import, and xarray is optional
    import xarray
    from matplotlib.figure import Figure

_STYLE = "white-space:pre-wrap;text-align:left"
_LONGEST = 160  # characters of a `repr`, without the class and the cost: two lines of a terminal


class Shown:
    """Base of all that prints as a table: one line as ``repr``, an HTML table in a notebook, a pandas table.

    ``print(result)`` gives the full text. ``repr(result)``, which a session or a debugger shows, is one line.
    """

    def table(self) -> str:
        """Return the numbers in aligned columns; empty for a kind of result without any."""
        return ""

    def to_frame(self) -> Any:
        """Return a pandas ``DataFrame``. Column names hold the units; a name without one is a pure number or a text.

        ``nats``: natural logarithms. ``passes``: full passes over the data. ``metric_units``: steps of the metric.
        ``loss_per_unit2``: a second derivative, loss per squared step of the metric. Losses and cutoffs are in the unit
        of the criterion. ``frame.attrs["units"]`` names the unit of every column; ``text`` stands for words.

        Raises:
            MissingExtraError: if pandas is not installed.
            LandscapeError: if this kind of result has no rows.
        """
        series = self._series()
        if series is None:
            raise LandscapeError(
                f"{type(self).__name__} has no rows to make a table of. Use to_dict(), which returns all of it."
            )
        try:
            import pandas  # inside, because pandas is optional and slow to import
        except ImportError as error:
            raise MissingExtraError("pandas", "notebook", "to_frame()") from error
        frame = pandas.DataFrame(dict(series))
        frame.attrs["units"] = {
            name: resolved(unit_of(name, values), self._criterion) for name, values in series.items()
        }
        return frame

    def to_xarray(self) -> xarray.Dataset:
        """Return an xarray ``Dataset``: named axes, with units and a description in the ``attrs`` of each variable.

        Settings, verdict, notes and cost are in the ``attrs`` of the dataset: ``config_seed``, ``cost_seconds``, ...
        Draws of chains have the axes ``chain`` and ``draw``, as ArviZ expects. ``to_netcdf`` writes all of it.

        Raises:
            MissingExtraError: if xarray is not installed.
        """
        return to_dataset(self._contents())

    def plot(self, figure: str | None = None) -> Figure:
        """Return the matplotlib figure of the result, which shows itself at the end of a notebook cell.

        It is drawn as ``landscape plot`` draws it. No window opens, and pyplot is not used; ``.savefig(path)`` writes
        it.

        Args:
            figure: which figure, if the kind of result has several, such as ``"surface"`` of a plane. By default the
                one that shows it best. A wrong name gives an error that lists them.

        Raises:
            LandscapeError: if this kind of result has no figure, or none of that name.
        """
        drawn: Figure = draw(self, figure)
        return drawn

    def _contents(self) -> Contents:
        """Return what :meth:`to_xarray` holds."""
        raise NotImplementedError

    @property
    def _criterion(self) -> str | None:
        """The criterion that cutoffs are in; None if unknown."""
        return None

    def _series(self) -> Mapping[str, Any] | None:
        """Return the columns of :meth:`to_frame`, all of one length; None for a kind without rows."""
        return None

    def _brief(self) -> str:
        """Return what ``repr`` says between the class and the cost: by default how the text begins."""
        return str(self).partition("\n")[0]

    def _cells(self) -> str:
        """Return the part of the text that a notebook shows as an HTML table."""
        return self.table()

    @property
    def brief(self) -> str:
        """The result in a few words."""
        return self._brief()

    def parts(self) -> tuple[str, Table | None, str]:
        """Return the text before the table, the table with its cells if there is one, and the text after it."""
        text, table = str(self), self._cells()
        if not isinstance(table, Table) or table not in text:
            return text, None, ""
        before, _, after = text.partition(table)
        return before, table, after

    def _repr_html_(self) -> str:
        """Return the text for a notebook: its table as an HTML table, the words around it as they are printed."""
        before, table, after = self.parts()
        parts = (_paragraph(before), "" if table is None else table.html(), _paragraph(after))
        return "\n".join(part for part in parts if part)

    def __repr__(self) -> str:
        words, cost = shortened(self._brief(), _LONGEST), getattr(self, "cost", None)
        if cost is not None:
            passes = f"{cost.evaluations:,.0f}"
            words += f"; {passes} {'pass' if passes == '1' else 'passes'}, {cost.seconds:.1f} s"
        return f"<{type(self).__name__}: {words}>"


def _paragraph(text: str) -> str:
    """Return lines of text as HTML with their line breaks; empty for nothing."""
    stripped = text.strip("\n")
    return f'<pre style="{_STYLE}">{escape(stripped)}</pre>' if stripped else ""

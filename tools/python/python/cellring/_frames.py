"""Tables as pandas has them after ``anndata.read_h5ad``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from . import _cellring

_ENCODING = "anndata.encoding"


def frame(table: _cellring.Table, columns: Sequence[str] | None) -> pd.DataFrame:
    """The table, or some of its columns, as a data frame."""
    fields = table.fields()
    places = range(1, len(fields))
    if columns is not None:
        by_name = {fields[place][0]: place for place in places}
        places = [by_name[name] for name in columns]  # type: ignore[assignment]
    names = [fields[place][0] for place in places]
    values = {fields[place][0]: _column(table.column(place), fields[place][1]) for place in places}
    # As anndata makes it: pandas decides what texts become.
    made = pd.DataFrame(values, index=_index(table.column(0), fields[0][1]), columns=names or None)
    if not names:
        made.columns = made.columns.astype(str)
    index_name = fields[0][1].get("anndata.index_name", fields[0][0])
    if index_name != "_index":
        made.index.name = index_name
    return made


def dtype_of(table: _cellring.Table, place: int) -> Any:
    """The dtype of a column."""
    return _column(table.column(place), table.fields()[place][1]).dtype


def _index(column: dict[str, Any], metadata: dict[str, str]) -> Any:
    if column["kind"] == "none":
        return _texts([], metadata)
    return _column(column, metadata)


def _texts(values: list[str | None], metadata: dict[str, str]) -> Any:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    if metadata.get(_ENCODING) != "nullable-string-array" and None not in values:
        return made
    if metadata.get("anndata.na_value") == "NaN":
        try:
            return pd.array(made, dtype=pd.StringDtype(na_value=np.nan))
        except TypeError:  # pandas before 2.3 has one missing value only.
            pass
    return pd.array(made, dtype="string")


def _column(column: dict[str, Any], metadata: dict[str, str]) -> Any:
    kind = column["kind"]
    if kind == "text":
        return _texts(column["values"], metadata)
    if kind == "category":
        of_categories = {
            key: metadata[given]
            for key, given in ((_ENCODING, "anndata.categories_encoding"), ("anndata.na_value", "anndata.categories_na_value"))
            if given in metadata
        }
        categories = _column(column["categories"], of_categories)
        ordered = metadata.get("anndata.ordered", "").lower() == "true"
        return pd.Categorical.from_codes(np.asarray(column["values"]), categories=pd.Index(categories), ordered=ordered)
    values = np.asarray(column["values"])
    if column["is_half"]:
        values = values.view(np.float16)
    valid = column["valid"]
    nullable = metadata.get(_ENCODING, "").startswith("nullable-")
    if values.dtype.kind == "f":
        if valid is not None:
            values = values.copy()
            values[~np.asarray(valid)] = np.nan
        return values
    if not nullable and valid is None:
        return values
    missing = np.zeros(len(values), dtype=bool) if valid is None else ~np.asarray(valid)
    if values.dtype.kind == "b":
        return pd.arrays.BooleanArray(values, missing)
    return pd.arrays.IntegerArray(values, missing)

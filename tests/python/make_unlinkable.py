"""Makes files whose values are stored by rows and yet cannot be read where they are: for each a line with its path, the reason, and whether a
conversion `takes` or `refuses` them.

make_unlinkable.py DIRECTORY
"""

import sys
import zipfile
from pathlib import Path
from typing import Callable

import anndata
import h5py
import numpy as np
import scipy.sparse as sp

directory = Path(sys.argv[1])
adata = anndata.AnnData(X=sp.random(50, 30, 0.2, format="csr", dtype=np.float32, random_state=1))


def compact() -> Path:
    """The values are within the headers of their datasets, which HDF5 may move when it adds an attribute."""
    path = directory / "compact.h5ad"
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        for name in ("data", "indices", "indptr"):
            values = file["X"][name][...]
            del file["X"][name]
            layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            layout.set_layout(h5py.h5d.COMPACT)
            space = h5py.h5s.create_simple(values.shape)
            dataset = h5py.h5d.create(file["X"].id, name.encode(), h5py.h5t.py_create(values.dtype), space, dcpl=layout)
            dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return path


def deflated() -> Path:
    """The chunks of a zarr are compressed once more by the zip file that holds them."""
    folder, path = directory / "cells.zarr", directory / "deflated.zarr.zip"
    adata.write_zarr(folder)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


def edited(name: str, edit: Callable[[h5py.Group], None]) -> Path:
    """`edit` gets the group of X."""
    path = directory / name
    adata.write_h5ad(path)
    with h5py.File(path, "r+") as file:
        edit(file["X"])
    return path


def taken_out(group: h5py.Group, member: str) -> np.ndarray:
    values = group[member][...]
    del group[member]
    return values


def in_another_file(group: h5py.Group, member: str) -> None:
    """As HDF5 stores what is to be beside the file: its bytes alone."""
    values = taken_out(group, member)
    place = [(str(directory / f"{member}.bin"), 0, h5py.h5f.UNLIMITED)]
    group.create_dataset(member, values.shape, values.dtype, external=place)[:] = values


def virtual(group: h5py.Group, member: str) -> None:
    """A dataset that is those of other files."""
    adata.write_h5ad(directory / "part.h5ad")
    dataset = group[member]
    layout = h5py.VirtualLayout(dataset.shape, dataset.dtype)
    layout[...] = h5py.VirtualSource("part.h5ad", f"X/{member}", shape=dataset.shape)
    del group[member]
    group.create_virtual_dataset(member, layout)


def of_floats(group: h5py.Group, dtype: str) -> None:
    """Columns that are whole numbers, and not integers."""
    values = taken_out(group, "indices")
    group.create_dataset("indices", data=values.astype(dtype), chunks=(100,), compression="gzip")


print(compact(), "X/indices lies within the headers of the file", "takes", sep="\t")
print(deflated(), "is deflated within the zip file", "takes", sep="\t")
for member in ("data", "indices", "indptr"):
    path = edited(f"external_{member}.h5ad", lambda group: in_another_file(group, member))
    print(path, f"X/{member} in {path} cannot be read: its data lie in other files (HDF5 external storage)", "refuses", sep="\t")
    path = edited(f"virtual_{member}.h5ad", lambda group: virtual(group, member))
    print(path, f"X/{member} in {path} cannot be read: it is an HDF5 virtual dataset", "refuses", sep="\t")
for dtype, name in (("f4", "float32"), (">f8", "big-endian float64")):
    path = edited(f"columns_{name}.h5ad".replace(" ", "_"), lambda group: of_floats(group, dtype))
    print(path, f"X/indices in {path} holds {name}, expected integers", "refuses", sep="\t")

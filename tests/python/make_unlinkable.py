"""Makes files whose values are stored by rows and yet cannot be read where they are: for each a line with its path and the reason.

make_unlinkable.py DIRECTORY
"""

import sys
import zipfile
from pathlib import Path

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


print(compact(), "X/indices lies within the headers of the file", sep="\t")
print(deflated(), "is deflated within the zip file", sep="\t")

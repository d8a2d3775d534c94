"""Lists the matrices of AnnData files, as the options of `cellring convert` that take all of them.

    python tests/python/list_matrices.py PATH...

Prints a line for each path that has an X: the path, and the options, separated by tabs.
"""

import sys
import warnings

import h5py
import zarr

warnings.simplefilter("ignore")


def root_of(path):
    if path.endswith(".h5ad"):
        return h5py.File(path, "r")
    store = zarr.storage.ZipStore(path, mode="r") if path.endswith(".zip") else path
    # Consolidated metadata describe arrays that are not needed, in types that this zarr may not know.
    return zarr.open_group(store, mode="r", use_consolidated=False)


def options(root):
    found = ["--x"]
    for name in root["layers"] if "layers" in root else ():
        found += ["--layer", name]
    # Before 0.7 the members of raw were called raw.X and raw.var.
    if "raw.X" in root or ("raw" in root and "X" in root["raw"]):
        found.append("--raw")
    return found


def main():
    for path in sys.argv[1:]:
        try:
            root = root_of(path)
        except OSError:
            # A truncated file; that it is refused is another test's.
            continue
        if "X" in root:
            print(path, *options(root), sep="\t")


if __name__ == "__main__":
    main()

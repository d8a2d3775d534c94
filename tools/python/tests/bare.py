"""What works with numpy and scipy alone; run where nothing else is installed."""

import os
import subprocess
import sys
import tempfile

import numpy as np

import cellring

source = sys.argv[1]
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "mouse.cellring")
    report = cellring.convert(source, path)
    assert report["n_obs"] == 10_000 and cellring.verify(path)["whole"]
    store = cellring.Store(path)
    assert store.shape == (10_000, 1_000) and len(store.var_names) == 1_000
    rows = store[[5, 3, 3, -1]]
    assert rows.shape == (4, 1_000) and rows.indices.dtype == rows.indptr.dtype and (rows[1] != rows[2]).nnz == 0
    for to in ("scipy", "numpy"):
        loader = cellring.Loader(path, to=to, batch_size=100, seed=1)
        ids, total = [], 0.0
        for minibatch in loader:
            ids.append(minibatch.ids)
            x = minibatch.to_scipy()
            total += x.sum()
            x.data *= 2
        assert sorted(np.concatenate(ids)) == list(range(10_000)) and len(loader) == 100
        assert total == store[:].sum()
    state = loader.state_dict()
    assert state["epoch"] == 1
    try:
        next(iter(cellring.Loader(path)))
    except cellring.InputError as error:
        assert "pip install torch" in str(error)
    else:
        raise AssertionError("there is no torch here")
    back = os.path.join(folder, "back.h5ad")
    cellring.export(path, back)
    assert os.path.getsize(back) > 0
    done = subprocess.run(["cellring", "info", path, "--json"], capture_output=True, text=True, check=True)
    assert '"n_obs":10000' in done.stdout.replace(" ", "")
    subprocess.run([sys.executable, "-m", "cellring", "verify", path], capture_output=True, check=True)
for name in ("torch", "pandas", "anndata", "tqdm"):
    assert name not in sys.modules, name
print("works with numpy", np.__version__)

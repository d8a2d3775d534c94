#!/usr/bin/env bash
# The whole test suite, with its set-up: a Python environment in .venv for the tests that compare with anndata.
# Extra arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if ! command -v cc >/dev/null || ! command -v python3 >/dev/null; then
    as_root apt-get update && as_root apt-get install -y build-essential python3 python3-venv
fi

python=.venv/bin/python
if ! "$python" -c 'import anndata, h5py, hdf5plugin, numpy, pandas, ray, scipy, zarr' 2>/dev/null; then
    rm -rf .venv
    if ! python3 -m venv .venv 2>/dev/null; then
        # Debian and Ubuntu ship Python without venv.
        as_root apt-get update && as_root apt-get install -y python3-venv
        rm -rf .venv
        python3 -m venv .venv
    fi
    "$python" -m pip install --quiet --disable-pip-version-check -r tests/python/requirements.txt
fi

# Doc tests run once, with the library's and the tools' tests; benchmarks run once each, at their smallest size.
cargo test --workspace --all-features "$@"
cargo test --workspace --all-features --benches "$@"

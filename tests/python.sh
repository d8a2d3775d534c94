#!/usr/bin/env bash
# Builds the wheel of the Python package, installs it into fresh environments, and runs its tests there. tests/setup.sh comes first.
#
#     bash tests/python.sh [--without-torch] [--release]
#
# --release: makes the source distribution, and from that the wheel that is to be published: built with zig, it runs on every Linux with
# glibc 2.28 or later (manylinux_2_28). That takes some minutes, since nothing that was built for this machine can be used.
set -euo pipefail
cd "$(dirname "$0")/.."

# As in tests/all.sh.
unset PYTHONDONTWRITEBYTECODE

say() { echo "python: $*" >&2; }

# The environment that maturin and the tests run in: with torch, unless that was left out or no Python is new enough for it.
environment=.venv
[ -e .venv-torch/made-of ] && environment=.venv-torch
maturin=maturin
flags=(--release)
for argument in "$@"; do
    case $argument in
    --yes) ;; # for tests/setup.sh
    --without-torch) environment=.venv ;;
    --release)
        maturin="maturin[zig]"
        flags=(--profile dist --sdist --zig --compatibility manylinux_2_28 --target-dir target/manylinux)
        ;;
    *) echo "python: $argument is not an option: --without-torch or --release" >&2 && exit 2 ;;
    esac
done
python=$PWD/$environment/bin/python
"$python" -m pip install --quiet --disable-pip-version-check "$maturin>=1.9,<2" "pytest>=8" "pytest-xdist>=3"

# With what the command was built with, except for a release: only the binding itself is compiled. Of a wheel built before nothing may be
# left. On PATH, the environment lets maturin find its zig.
rm -rf target/wheels
PATH=$(dirname "$python"):$PATH "$python" -m maturin build "${flags[@]}" --locked --quiet --manifest-path tools/python/Cargo.toml \
    --out target/wheels
wheel=$(ls target/wheels/*.whl)
say "built $(basename "$wheel"), $(du -h "$wheel" | cut -f1)"

# As users install it: nothing but numpy and scipy beside it, no Rust on PATH, on the oldest and the newest Python that are here.
oldest_and_newest() {
    local candidate
    for candidate in python3 python3.{10..19} "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3 \
        "$HOME"/.local/share/uv/python/cpython-3.*/bin/python3; do
        "$candidate" -c 'import ensurepip, sys, venv
if sys.version_info >= (3, 10) and "free-threading" not in sys.version: print(sys.version_info[1], sys.executable)' 2>/dev/null || true
    done | sort -n | sed -e 1b -e '$!d' | cut -d" " -f2 | uniq
}
for base in $(oldest_and_newest); do
    bare=target/wheels/bare
    rm -rf "$bare"
    "$base" -m venv "$bare"
    # On the oldest Python with the oldest versions that the package says it works with; there are none of them for later ones.
    oldest=()
    if "$base" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 10))'; then
        read -ra oldest <<<"$(sed -n 's/^dependencies = \[\(.*\)\]$/\1/p' tools/python/pyproject.toml | tr -d '",' | sed 's/>=/==/g')"
    fi
    "$bare/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile "$wheel" "${oldest[@]}"
    say "$("$bare/bin/python" -V): $("$bare/bin/python" -m pip list --format=freeze --disable-pip-version-check | tr '\n' ' ')"
    env -i PATH="$PWD/$bare/bin:/usr/bin:/bin" HOME="$HOME" "$bare/bin/python" -W error tools/python/tests/bare.py tools/data/mousebrain10k.h5ad
done

"$python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$wheel"
# Two processes share the cores: a torch of each with threads for all of them would be slower.
export OMP_NUM_THREADS=1
# Tests that need torch say why they are skipped where it is not. Each of two processes takes whole files.
"$python" -m pytest -q -rs --durations=8 -n 2 --dist loadfile tools/python/tests

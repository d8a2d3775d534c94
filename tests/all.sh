#!/usr/bin/env bash
# The whole test suite, with its set-up. Extra arguments go to `cargo test`.
#
#     bash tests/all.sh [--yes] [--without-torch] [ARGUMENTS OF CARGO TEST]
#
# It says what it installs. If packages of the system are missing, it calls sudo only with --yes or CI=true; otherwise, unless it runs as
# root, it prints the commands and stops. --without-torch spares 8 GB: the Python package is then tested without torch, and what is skipped is said.
set -euo pipefail
cd "$(dirname "$0")/.."

# Hundreds of short Python processes import the same modules: compiled once, they start in a third of the time.
unset PYTHONDONTWRITEBYTECODE

options=()
while [ "${1:-}" = --yes ] || [ "${1:-}" = --without-torch ]; do
    options+=("$1")
    shift
done
bash tests/setup.sh --packages "${options[@]}"
# What is downloaded for some minutes is waited for while the tests are compiled.
names=$(mktemp)
bash tests/setup.sh "${options[@]}" >"$names" &
setup=$!
trap 'kill "$setup" 2>/dev/null || true; rm -f "$names"' EXIT
cargo test --workspace --all-features --no-run "$@"
wait "$setup"
# The tests insist on these.
CELLRING_ENVIRONMENTS=$(cat "$names")
export CELLRING_ENVIRONMENTS

# Doc tests run once, with the library's and the tools' tests; benchmarks run once each, at their smallest size.
cargo test --workspace --all-features "$@"
cargo test --workspace --all-features --benches "$@"

bash tests/python.sh "${options[@]}"

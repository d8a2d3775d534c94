#!/usr/bin/env bash
# Everything that needs a GPU, in at most 6 minutes, on a machine that has one and no Rust.
#
#     bash benches/gpu.sh pack DIRECTORY    builds the tests, the example, the command and a small store into DIRECTORY, to be copied there
#     bash benches/gpu.sh run DIRECTORY     on the machine with the GPU; writes what it finds to DIRECTORY/report, or to $OUT if that is set
#
# `run` goes through all steps even if one fails, says so at the end, and exits with 1 then. A step that finds no GPU says that it was
# skipped and why.
set -euo pipefail

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
[ $# -eq 2 ] || usage
directory=$2

pack() {
    cd "$(dirname "$0")/.."
    mkdir -p "$directory"
    cargo build --release --package cellring-tools --bin cellring
    cargo build --release --example gpu --features cuda
    # The name of a test binary ends in a hash.
    tests=$(cargo test --release --test gpu --features cuda,sim --no-run --message-format=json \
        | sed -n 's/.*"executable":"\([^"]*\/gpu-[^"]*\)".*/\1/p' | tail -n 1)
    target=${CARGO_TARGET_DIR:-target}
    cp "$target/release/cellring" "$directory/cellring"
    cp "$target/release/examples/gpu" "$directory/example"
    cp "$tests" "$directory/tests"
    strip "$directory/cellring" "$directory/example" "$directory/tests"
    rm -rf "$directory/mouse.cellring"
    "$directory/cellring" convert tools/data/mousebrain10k.h5ad -o "$directory/mouse.cellring"
    # The package for Python, if tests/python.sh has built it.
    rm -rf "$directory/python"
    for wheel in target/wheels/*.whl; do
        [ ! -e "$wheel" ] || python3 -m zipfile -e "$wheel" "$directory/python"
    done
    cp tools/python/tests/on_gpu.py "$directory/on_gpu.py"
    cp "$0" "$directory/gpu.sh"
    du -sh "$directory"
}

run() {
    local out=${OUT:-$directory/report} failed=()
    mkdir -p "$out"
    step() {
        local name=$1 limit=$2
        shift 2
        echo "== $name"
        timeout "$limit" "$@" >"$out/$name.txt" 2>&1 || failed+=("$name")
        tail -n 25 "$out/$name.txt"
    }
    {
        nvidia-smi --query-gpu=name,driver_version,memory.total,pcie.link.gen.current,pcie.link.width.current --format=csv || true
        lscpu | grep -E 'Model name|^CPU\(s\)|NUMA node\(s\)'
        uname -r
    } 2>&1 | tee "$out/machine.txt"
    # NVRTC and the runtime come with a toolkit or with PyTorch's packages.
    local found
    found=$(find / -xdev -name 'libnvrtc.so*' -printf '%h\n' 2>/dev/null | sort -u | paste -sd:)
    export LD_LIBRARY_PATH=$found${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    local store=$directory/mouse.cellring
    step tests 150 "$directory/tests" --nocapture --test-threads=1
    step example 60 "$directory/example" "$store"
    if [ -d "$directory/python" ] && command -v python3 >/dev/null; then
        step python 60 env PYTHONPATH="$directory/python" python3 "$directory/on_gpu.py" "$store"
    else
        echo "skipped: python (no wheel was packed, or there is no python3)" | tee "$out/python.txt"
    fi
    step bench 60 "$directory/cellring" bench "$store" --gpu --json
    step bench_again 60 "$directory/cellring" bench "$store" --gpu --json
    if [ ${#failed[@]} -gt 0 ]; then
        echo "failed: ${failed[*]}"
        return 1
    fi
    if grep -l '^skipped' "$out"/*.txt; then
        echo "all that ran passed; the steps above were skipped"
    else
        echo "all passed"
    fi
}

case $1 in
    pack) pack ;;
    run) run ;;
    *) usage ;;
esac

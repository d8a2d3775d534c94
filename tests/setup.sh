#!/usr/bin/env bash
# Sets up what the tests need beside Rust: packages of the system, and Python environments with anndata, which the tests compare with.
#
#     bash tests/setup.sh [--yes] [--without-torch] [--packages]
#
# It says what it installs. For packages of the system it calls sudo only with --yes, or where CI=true says that nobody can be asked;
# otherwise, unless it runs as root, it prints the commands and stops. Environments lie in .venv and .venv-*, in the repository; one is made again when its
# requirements change, or its Python is gone. Its last line names those that are there. --packages: packages of the system only.
set -euo pipefail
cd "$(dirname "$0")/.."

yes=${CI:-false}
with_torch=true
packages_only=false
for argument in "$@"; do
    case $argument in
        --yes) yes=true ;;
        --without-torch) with_torch=false ;;
        --packages) packages_only=true ;;
    esac
done
if [ "$(id -u)" = 0 ]; then yes=true; fi

say() { echo "setup: $*" >&2; }

# A Python with venv between two versions, as 3.11 and 3.14: python3, another on PATH, or one of a version manager. Gives the interpreter
# itself, not a shim.
python_between() {
    local candidate
    for candidate in python3 python3.{10..19} "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3 \
        "$HOME"/.local/share/uv/python/cpython-3.*/bin/python3; do
        "$candidate" - "$1" "$2" 2>/dev/null <<'PYTHON' && return
import ensurepip, sys, venv  # Debian and Ubuntu ship Python without the first.
low, high = (tuple(map(int, version.split("."))) for version in sys.argv[1:])
if not low <= sys.version_info[:2] <= high:
    sys.exit(1)
print(sys.executable)
PYTHON
    done
    return 1
}

# What of the system is missing.
packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
python_between 3.11 3.14 >/dev/null || packages+=(python3 python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
    sudo=
    [ "$(id -u)" = 0 ] || sudo="sudo "
    commands=("${sudo}apt-get update" "${sudo}apt-get install -y ${packages[*]}")
    if [ "$yes" != true ]; then
        say "missing: ${packages[*]}. Install them with these commands, then run this again:"
        printf '    %s\n' "${commands[@]}" >&2
        say "Or let this script run them: bash tests/all.sh --yes"
        exit 1
    fi
    for command in "${commands[@]}"; do
        say "runs: $command"
        DEBIAN_FRONTEND=noninteractive $command >&2
    done
fi

if $packages_only; then exit; fi

# Each environment: its directory, its requirements, the versions of Python that its packages exist for, and its size in GB.
environments=(
    ".venv                      tests/python/requirements.txt                          3.11 3.14 0.8"
    ".venv-anndata-0.11         tests/python/environments/anndata-0.11.txt             3.10 3.12 0.8"
    ".venv-anndata-0.12-pandas-3 tests/python/environments/anndata-0.12-pandas-3.txt   3.11 3.14 0.8"
    ".venv-anndata-0.13         tests/python/environments/anndata-0.13.txt             3.12 3.14 0.8"
)
# The Python package is tested with torch and what trains with it, in an environment of its own; tests/python.sh uses it. It takes 8 GB, while it is
# made 4 more for what is downloaded, and what the tests are built of needs room as well.
torch_gb=20
free_gb=$(($(df --output=avail -k . | tail -n 1) >> 20))
if $with_torch && [ ! -e .venv-torch/made-of ] && [ "$free_gb" -lt $torch_gb ]; then
    say "skips torch, Lightning, scvi-tools, jax and Ray Train: $free_gb GB are free here, and the tests with them need $torch_gb; make room and run this again to test" \
        "the Python package with them"
elif $with_torch; then
    environments+=(".venv-torch            tools/python/tests/requirements.txt            3.12 3.14 8")
else
    say "skips torch, Lightning, scvi-tools, jax and Ray Train, because of --without-torch: the Python package is tested without them"
fi

make_environment() {
    local folder=$1 requirements=$2 python=$3 size=$4 stamp
    stamp=$(cat "$requirements")
    if [ "$(cat "$folder/made-of" 2>/dev/null)" = "$stamp" ] && "$folder/bin/python" -c 'import numpy' 2>/dev/null; then
        return
    fi
    say "installs into $folder, from PyPI (about $size GB): $(grep -v '^#' "$requirements" | tr '\n' ' ')"
    rm -rf "$folder"
    # Modules are compiled when they are first imported: most of them never are. What is downloaded is used once.
    "$python" -m venv "$folder" &&
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile --no-cache-dir -r "$requirements" >&2 &&
        echo "$stamp" >"$folder/made-of"
}

# One is unpacked while the next is downloaded.
names=()
jobs=()
for line in "${environments[@]}"; do
    read -r folder requirements low high size <<<"$line"
    name=${folder#.venv}
    name=${name#-}
    name=${name:-anndata-0.12}
    if ! python=$(python_between "$low" "$high"); then
        say "skips $name: it needs Python $low to $high with venv, and neither PATH nor the folder of a version manager has one." \
            "To have it tested, install one (from the distribution, or by pyenv or uv) and run this again."
        continue
    fi
    make_environment "$folder" "$requirements" "$python" "$size" &
    # The others are compared with; this one is only used by its own tests.
    [ "$name" = torch ] || names+=("$name")
    jobs+=($!)
done
for job in "${jobs[@]}"; do
    wait "$job" || { say "an environment could not be made; see above"; exit 1; }
done
echo "${names[*]}"

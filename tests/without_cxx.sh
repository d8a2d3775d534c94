#!/usr/bin/env bash
# Fills a directory with links to every program on PATH but the C++ compilers: the PATH of a machine that has only a C compiler.
#
#     bash tests/without_cxx.sh DIRECTORY
set -euo pipefail

directory=$1
rm -rf "$directory"
mkdir -p "$directory"
IFS=: read -ra folders <<<"$PATH"
for folder in "${folders[@]}"; do
    case $folder in
    "$directory" | "") continue ;;
    */shims)
        # Shims look for themselves on PATH; the programs behind them are found in other folders, or asked for here.
        continue ;;
    esac
    [ -d "$folder" ] || continue
    # What comes first on PATH stays first: links that exist are kept, without a word.
    find -L "$folder" -maxdepth 1 -type f -perm -u+x ! -name '*++*' -print0 2>/dev/null |
        xargs -0 --no-run-if-empty ln -s -t "$directory" 2>/dev/null || true
done
if [ -n "$(find "$directory" -name '*++*')" ] || [ ! -e "$directory/cc" ] || [ ! -e "$directory/cargo" ]; then
    echo "$directory must have cc and cargo, and no C++ compiler" >&2
    exit 1
fi

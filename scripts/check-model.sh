#!/usr/bin/env bash
# Searches all states of the models in Model/, then finds every mistake that -D can put into them (Model/README.md): a model
# that does not find what is wrong says nothing about what is right. Arguments: the names of models, all of them by default.
set -euo pipefail
cd "$(dirname "$0")/.."
models=$PWD/Model
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

declare -A mistakes=(
    [Links]="CHECKFIRST LEASEFIRST LOSTHINT HINTFIRST NOGRACE NOEXTEND MOUNTUNLOCKED PUTUNLOCKED RESTOREUNLOCKED DONOTHING"
    [Objects]="CHECKFIRST KEYREUSE NOTRASHCHECK NODELAY BYTESFIRST OBJECTFIRST LOSERSKEY"
    [Manifests]="CHECKFIRST IGNOREKEEP LOSTHINT NOGRACE NOEXTEND CHILDUNLOCKED SPARSERACE RESTORELEAK=PUSHES=INDEX"
)
# Scenes of a model that are searched one by one.
declare -A scenes=([Links]="-DCLIENTS=2" [Objects]="-DCLIENTS=2" [Manifests]="-DPUSHES=IMAGE -DPUSHES=INDEX")
memory=4000 # MB

# search MODEL OPTIONS…: leaves what the search says in the file `out`.
search() {
    local model=$1
    shift
    spin -a "$@" "$models/$model.pml" > out
    gcc -w -O2 -DSAFETY -DCOLLAPSE "-DMEMLIM=$memory" "$@" -o pan pan.c
    # -E: where everybody waits is not an end, since each wait may end by being undone.
    ./pan -E -n -m10000000 > out 2>&1 || true
}

fail() {
    cat out
    echo "$1"
    exit 1
}

[ $# -gt 0 ] || set -- Links Objects Manifests
for model in "$@"; do
    for scene in ${scenes[$model]}; do
        search "$model" "$scene"
        grep -q "errors: 0" out || fail "$model $scene: wrong"
        ! grep -qE "not completed|too small|out of memory" out || fail "$model $scene: not searched to its end"
        echo "$model $scene: right in all $(awk '/states, stored/ {print $1}' out) states"
    done
    for mistake in ${mistakes[$model]}; do
        options=("-D${mistake%%=*}")
        [[ $mistake != *=* ]] || options+=("-D${mistake#*=}")
        search "$model" "${options[@]}"
        grep -q "assertion violated" out || fail "$model: does not find ${mistake%%=*}"
        echo "$model: finds ${mistake%%=*}"
    done
done

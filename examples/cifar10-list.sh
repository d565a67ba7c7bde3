#!/usr/bin/env bash
# The pictures of the CIFAR-10 experiments beside this file: the first 2,000 names of each class.
#
#   examples/cifar10-list.sh CIFAR LIST
#
# CIFAR has the folders train and test, a folder of pictures a class. LIST, lines `path,label`, is written unless it is there.
set -euo pipefail

[ $# -eq 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2; }
cifar=$(realpath "$1")
list=$2
[ ! -e "$list" ] || exit 0
mkdir -p "$(dirname "$list")"
for class in "$cifar"/train/*/; do
    find "$class" -type f | LC_ALL=C sort | sed -n "1,2000s|\$|,$(basename "$class")|p"
done >"$list.part"
mv "$list.part" "$list"

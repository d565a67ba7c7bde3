#!/usr/bin/env bash
# The scripts of examples/, shortened, on pictures that the program draws.
set -euo pipefail
lacuna=$1
source=$2
rm -rf evidence_test.tmp
mkdir evidence_test.tmp
cd evidence_test.tmp
export XDG_CACHE_HOME=$PWD/cache LACUNA=$lacuna
"$lacuna" data world --out world --count 16 --val 4 --size 32 >/dev/null 2>&1
mkdir CIFAR
ln -s ../world/train CIFAR/train
ln -s ../world/val CIFAR/test
more=(encoder.width=16 encoder.heads=2 schedule.batch_size=8 schedule.epochs=2 schedule.warmup_epochs=0.5 data.val_every=1 run.threads=1)
timeout 100 "$source/examples/cifar10-deepmim.sh" CIFAR out "${more[@]}" --max-steps 3 >/dev/null 2>&1
[ -e out/report.html ] && [ -e out/deepmim-1/checkpoints/latest ]
# Gone on with, it comes to its end and has a line for each validation.
timeout 100 "$source/examples/cifar10-deepmim.sh" CIFAR out "${more[@]}" >/dev/null 2>&1
[ "$(grep -c '^| mae-0 ' out/table.md)" = 2 ]
grep -Eq '^\| deepmim-1 \| 2 \| [0-9.]+ \| [0-9.]+, [0-9.]+, [0-9.]+, [0-9.]+ \|$' out/table.md
cd ..
rm -rf evidence_test.tmp

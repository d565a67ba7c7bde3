#!/usr/bin/env bash
# The page of an analysis in a browser: its script runs, the console stays silent, every plot has its data, on light and dark
# ground. Skipped (77) where Chromium is not installed.
set -euo pipefail
program=$1
. "$(dirname "${BASH_SOURCE[0]}")/page.sh" analyse-page

cat >tiny.yaml <<'TEXT'
image: {size: 16, mean: auto, std: auto}
data: {train: world, world_images: 44, val_share: 0.2, workers: 1}
encoder: {patch: 4, width: 16, depth: 2, heads: 2}
decoders:
  - {tap: last, width: 8, depth: 1, heads: 2}
schedule: {batch_size: 8, epochs: 3, warmup_epochs: 1, lr: 1e-3}
run: {threads: 1}
TEXT
"$program" pretrain tiny.yaml --out one --quiet
"$program" pretrain tiny.yaml --out two --quiet run.seed=1 encoder.depth=3 encoder.class_token=false
"$program" analyse one --data world --images 12 --out alone
"$program" analyse one two --data world --images 12 --out both

# One model of 2 blocks with 2 heads: distance, entropy and KL of its heads, 7 plots of layers; the script adds a box to each.
browse --dump-dom "file://$work/alone/report.html" >page
expect 12 '<div class="value"'
expect 3 'data-name="head 0"'
expect 3 'data-name="head 1"'
expect 2 'data-name="uniform attention"'
expect 12 '<circle'
expect 7 'data-name="one"'
expect 1 'data-name="five largest"'
expect 1 'data-name="layer 2"'
expect 9 '<rect class="cell"'
expect 4 '<img '
expect 0 'There is nothing to measure'
expect 17 '<p class="note">'

# Two models: a plot each, and what they share but for two, of class tokens, that the second has none of; 9, 16 and 12 cells;
# weights of the two blocks both have, and the rank of each model's.
browse --dump-dom "file://$work/both/report.html" >page
expect 20 '<div class="value"'
expect 5 'data-name="two"'
expect 0 ' d=""'
expect 30 '<circle'
expect 37 '<rect class="cell"'
expect 3 'data-name="qkv"'
expect 8 '<img '
expect 0 'There is nothing to measure'

for ground in 0 1; do # dark, light
    browse --blink-settings=preferredColorScheme=$ground --window-size=1200,900 --screenshot="ground-$ground.png" \
        "file://$work/both/report.html"
done
cmp -s ground-0.png ground-1.png && fail 'light and dark look the same'
echo 'the page is as it should be'

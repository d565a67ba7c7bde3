#!/usr/bin/env python3
"""How hard the built-in world is: a linear probe on raw pixels beside a small supervised ViT.

    build/lacuna data world --out WORLD --count 20000 --val 2000
    python bench/world_probe.py WORLD

Reads WORLD/train and WORLD/val, pictures of one size in a folder for each class. The world is meant to be learnable and not
trivial: the ViT gets at least a tenth above chance, the linear probe at most half of that. Prints both, and exits with 1 if
one of it fails.
Needs torch, numpy and Pillow.
"""

import argparse
import json
import pathlib
import sys
import time

import numpy
import torch
from PIL import Image
from torch import nn
from torch.nn import functional


def read(folder):
    """Pictures as bytes (n, 3, side, side), labels (n), number of classes."""
    classes = sorted(p.name for p in folder.iterdir() if p.is_dir())
    pictures, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).iterdir()):
            pictures.append(numpy.asarray(Image.open(path).convert("RGB")))
            labels.append(label)
    pixels = torch.from_numpy(numpy.stack(pictures)).permute(0, 3, 1, 2).contiguous()
    return pixels, torch.tensor(labels), len(classes)


def normalise(pixels):
    return (pixels.float() - 127.5) / 64


def accuracy(model, pixels, labels):
    model.eval()
    with torch.no_grad():
        right = sum((model(normalise(p)).argmax(1) == l).sum().item() for p, l in zip(pixels.split(250), labels.split(250)))
    return right / len(labels)


def train(model, pixels, labels, test, epochs, rate, decay, batch, flip, name):
    """The best accuracy on the test pictures after any epoch, which favours whoever overfits."""
    steps = epochs * (len(labels) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=0.15)
    best, start = 0.0, time.time()
    for epoch in range(epochs):
        model.train()
        total = 0.0
        for places in torch.randperm(len(labels))[: steps // epochs * batch].split(batch):
            x = normalise(pixels[places])
            if flip:
                mirrored = torch.rand(len(x)) < 0.5
                x[mirrored] = x[mirrored].flip(3)
            loss = functional.cross_entropy(model(x), labels[places])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        now = accuracy(model, *test)
        best = max(best, now)
        print(f"{name} epoch {epoch + 1}: loss {total * epochs / steps:.3f}, test {100 * now:.2f} %, {time.time() - start:.0f} s",
              file=sys.stderr, flush=True)
    return best


def sincos(grid, width):
    """Sines and cosines of row and column, (1, grid * grid, width), where learned places begin."""
    rates = 1 / 100 ** (torch.arange(width // 4) / (width // 4))
    angles = torch.arange(grid)[:, None] * rates
    line = torch.cat([angles.sin(), angles.cos()], 1)
    rows, columns = line[:, None].expand(-1, grid, -1), line[None].expand(grid, -1, -1)
    return torch.cat([rows, columns], 2).reshape(1, grid * grid, width)


class Vit(nn.Module):
    """Patches of 8 by three strided convolutions (plain patches learn nothing from so few pictures), a learned place for each, blocks
    with the norm first, the mean of the tokens, a linear layer."""

    def __init__(self, side, width, depth, heads, classes):
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(), nn.Conv2d(24, 48, 3, 2, 1),
                                   nn.BatchNorm2d(48), nn.ReLU(), nn.Conv2d(48, width, 3, 2, 1))
        self.places = nn.Parameter(0.3 * sincos(side // 8, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("world", type=pathlib.Path, help="a folder that `lacuna data world` wrote")
    parser.add_argument("--epochs", type=int, default=10, help="of the ViT (default 10)")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--depth", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    pixels, labels, classes = read(args.world / "train")
    test = read(args.world / "val")[:2]
    chance = torch.bincount(test[1]).max().item() / len(test[1])

    linear = 0.0
    for decay in (0.03, 1.0, 30.0):
        model = nn.Sequential(nn.Flatten(), nn.Linear(pixels[0].numel(), classes))
        linear = max(linear, train(model, pixels, labels, test, 5, 3e-4, decay, 250, False, f"linear, decay {decay:g},"))
    vit = train(Vit(pixels.shape[-1], args.width, args.depth, args.width // 32, classes), pixels, labels, test,
                args.epochs, 1e-3, 0.05, 64, True, "ViT")

    share = (linear - chance) / (vit - chance) if vit > chance else float("inf")
    print(json.dumps({"pictures": len(labels), "test_pictures": len(test[1]), "classes": classes, "chance": chance,
                      "linear": linear, "vit": vit, "linear_share_above_chance": share, "epochs": args.epochs,
                      "width": args.width, "depth": args.depth, "torch": torch.__version__}))
    return 0 if vit - chance >= 0.1 and share <= 0.5 else 1


if __name__ == "__main__":
    sys.exit(main())

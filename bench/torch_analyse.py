#!/usr/bin/env python3
"""The numbers of `lacuna analyse` in PyTorch, of one model on a folder of pictures: attention distance, diversity and entropy of
heads, CKA over minibatches, shares of singular values, frequencies. Prints one JSON object with seconds and pictures per second.

    torch_analyse.py --model RUN/checkpoints/latest/model.safetensors --data photos/ [--images 1000] [--compare numbers.json]

reads the weights that lacuna wrote (ViT with sin-cos or learned positions). --compare takes what lacuna analyse wrote for the same model and
pictures and prints the largest difference of each number. It exits with 1 when one is off by more than 1e-3 of its size, or
only one side has it.
"""
import argparse
import json
import math
import os
import platform
import resource
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff")


def read_safetensors(path):
    import struct

    with open(path, "rb") as f:
        data = f.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, about in header.items():
        if name == "__metadata__" or about["dtype"] != "F32":
            continue
        first, end = about["data_offsets"]
        array = np.frombuffer(data, np.float32, (end - first) // 4, 8 + length + first).reshape(about["shape"])
        tensors[name] = torch.from_numpy(array.copy())
    return tensors


def list_pictures(folder):
    found = []
    for root, _, files in os.walk(folder):
        found += [os.path.relpath(os.path.join(root, f), folder) for f in files if f.lower().endswith(SUFFIXES)]
    return [os.path.join(folder, name) for name in sorted(found, key=lambda name: name.encode())]


def prepare(path, size, mean, std):
    """Short side to 8/7 of the size up to 224, above to the size itself (bicubic), then the middle."""
    image = Image.open(path).convert("RGB")
    side, (width, height) = size * 8 // 7 if size <= 224 else size, image.size
    if width < height:
        image = image.resize((side, int(side * height / width)), Image.BICUBIC)
    else:
        image = image.resize((int(side * width / height), side), Image.BICUBIC)
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    image = image.crop((left, top, left + size, top + size))
    x = torch.from_numpy(np.asarray(image, np.float32) / 255).permute(2, 0, 1)
    return (x - mean[:, None, None]) / std[:, None, None]


class Pictures(torch.utils.data.Dataset):
    def __init__(self, paths, size, mean, std):
        self.paths, self.size, self.mean, self.std = paths, size, mean, std

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, i):
        return prepare(self.paths[i], self.size, self.mean, self.std)


def forward(w, x, heads, eps):
    """States of all layers and attention of all blocks."""
    x = F.conv2d(x, w["patch_embed.proj.weight"], w.get("patch_embed.proj.bias"), stride=w["patch_embed.proj.weight"].shape[-1])
    x = x.flatten(2).transpose(1, 2)
    position, classes = w["pos_embed"], "cls_token" in w
    if classes:
        x = torch.cat([(w["cls_token"] + position[:, :1]).expand(len(x), -1, -1), x + position[:, 1:]], 1)
    else:
        x = x + position
    states, maps, block = [x], [], 0
    width = x.shape[-1]
    while f"blocks.{block}.norm1.weight" in w:
        p = {k[len(f"blocks.{block}.") :]: v for k, v in w.items() if k.startswith(f"blocks.{block}.")}
        y = F.layer_norm(x, (width,), p["norm1.weight"], p["norm1.bias"], eps)
        qkv = F.linear(y, p["attn.qkv.weight"], p["attn.qkv.bias"])
        q, k, v = qkv.view(*y.shape[:2], 3, heads, width // heads).permute(2, 0, 3, 1, 4)
        attention = ((q @ k.transpose(-1, -2)) * (width // heads) ** -0.5).softmax(-1)
        y = (attention @ v).transpose(1, 2).reshape(x.shape)
        x = x + F.linear(y, p["attn.proj.weight"], p["attn.proj.bias"])
        y = F.layer_norm(x, (width,), p["norm2.weight"], p["norm2.bias"], eps)
        y = F.gelu(F.linear(y, p["mlp.fc1.weight"], p["mlp.fc1.bias"]))
        x = x + F.linear(y, p["mlp.fc2.weight"], p["mlp.fc2.bias"])
        states.append(x)
        maps.append(attention)
        block += 1
    return states, maps


def head_numbers(a, distances, classes):
    """Of attention (N, heads, T, T): sums over pictures."""
    heads = a.shape[1]
    a = a[:, :, classes:]  # queries are patches
    part = a[..., classes:]
    renormalised = part / part.sum(-1, keepdim=True)
    out = {
        "class_mass": a[..., :classes].sum(-1).mean(-1),
        "distance": (part * distances).sum(-1).mean(-1),
        "distance_renormalised": (renormalised * distances).sum(-1).mean(-1),
    }
    for name, p in (("entropy", renormalised), ("entropy_keep", a)):
        logs = p.clamp_min(1e-12).log()
        own = (p * logs).sum(-1)  # (N, heads, Q)
        out[name] = -own.mean(-1)
        cross = torch.einsum("naqk,nbqk->nabq", p, logs)
        kl = (own[:, :, None] - cross).mean(-1) * (1 - torch.eye(heads))
        out["kl" if name == "entropy" else "kl_keep"] = kl
    unit = F.normalize(renormalised, dim=-1)
    out["cosine_rows"] = torch.einsum("naqk,nbqk->nabq", unit, unit).mean(-1)
    flat = F.normalize(renormalised.flatten(2), dim=-1)
    out["cosine_flat"] = flat @ flat.transpose(-1, -2)
    return {k: v.double().sum(0) for k, v in out.items()}


def token_numbers(x):
    """Of patch tokens (N, L, D): sums over pictures of shares, effective rank."""
    s = torch.linalg.svdvals(F.normalize(x, dim=-1))
    share = s.cumsum(-1)[:, :5] / s.sum(-1, keepdim=True)
    p = s / s.sum(-1, keepdim=True)
    rank = torch.exp(-(p * p.clamp_min(1e-30).log()).sum(-1))
    return share.double().sum(0), rank.double().sum(0)


def amplitude_sum(x, rows, columns):
    """Of patch tokens (N, L, D): the sum over pictures of log amplitudes."""
    f = torch.fft.fft2(x.transpose(1, 2).reshape(len(x), -1, rows, columns)).abs().add(1e-6).log()
    i = torch.arange((rows + 1) // 2)
    diagonal = f[:, :, i, i * columns // rows].mean(1)
    return (diagonal - diagonal[:, :1]).double().sum(0)


def hsic(k, l):
    """Unbiased, of Gram matrices with zero diagonals."""
    n = len(k)
    rows, columns = k.sum(0), l.sum(0)
    return ((k * l).sum() + rows.sum() * columns.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (rows * columns).sum()) / (n * (n - 3))


class Similarity:
    """CKA of layers, its sums over minibatches of one size; what fills none at the end is left out."""

    def __init__(self, batch):
        self.batch, self.have, self.sums = batch, None, None

    def add(self, layers):
        new = torch.stack(layers)
        self.have = new if self.have is None else torch.cat([self.have, new], 1)
        if self.sums is None:
            self.sums = torch.zeros(len(layers), len(layers), dtype=torch.double)
        while self.have.shape[1] >= self.batch:
            self.add_minibatch(self.have[:, : self.batch])
            self.have = self.have[:, self.batch :]

    def add_minibatch(self, layers):
        grams = []
        for x in layers:
            x = x.double() - x.double().mean(0)
            grams.append((x @ x.T).fill_diagonal_(0))
        for i, k in enumerate(grams):
            for j in range(i, len(grams)):
                self.sums[i, j] += hsic(k, grams[j])
                self.sums[j, i] = self.sums[i, j]

    def result(self):
        own = self.sums.diagonal()
        return self.sums / (own[:, None] * own[None]).sqrt()


def compare(result, path, count, tolerance=1e-3):
    theirs = json.load(open(path))
    if theirs["pictures"] != count:
        sys.exit(f"{path} is of {theirs['pictures']} pictures, not of {count}")
    worst = {}

    def note(name, ours, other):
        if math.isfinite(ours) and other is not None:
            worst[name] = max(worst.get(name, 0), abs(ours - other) / max(abs(other), 1e-2))
        elif math.isfinite(ours) or other is not None:
            worst[name] = math.inf  # only one side has this number

    for row in theirs["heads"]:
        block, head = int(row["block"]) - 1, int(row["head"])
        for name in ("distance", "distance_renormalised", "class_mass", "entropy", "entropy_keep"):
            note(name, float(result["heads"][block][name][head]), row[name])
    for row in theirs["pairs"]:
        block, a, b = int(row["block"]) - 1, int(row["head"]), int(row["other_head"])
        for name in ("kl", "kl_keep", "cosine_rows", "cosine_flat"):
            note(name, float(result["heads"][block][name][a, b]), row[name])
    for row in theirs["layers"]:
        layer = int(row["layer"])
        for j in range(5):
            if layer:
                note("share", float(result["shares"][layer][j]), row[f"share_{j + 1}"])
        if layer:
            note("effective_rank", float(result["ranks"][layer]), row["effective_rank"])
    for row in theirs["frequencies"]:
        note("log_amplitude", float(result["amplitudes"][int(row["layer"])][int(row["frequency"])]), row["log_amplitude"])
    for row in theirs["cka"]:
        for name in ("cka", "cka_class"):
            if name in result:
                note(name, float(result[name][int(row["layer"]), int(row["other_layer"])]), row[name])
    for name, value in worst.items():
        print(f"{name:24s} {value:.2e}", file=sys.stderr)
    return all(value <= tolerance for value in worst.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model.safetensors of a checkpoint")
    parser.add_argument("--data", required=True, help="a folder of pictures")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--eps", type=float, default=1e-6)
    parser.add_argument("--mean", type=float, nargs=3, default=(0.485, 0.456, 0.406))
    parser.add_argument("--std", type=float, nargs=3, default=(0.229, 0.224, 0.225))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--cka-batch", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--compare", help="numbers.json of lacuna analyse on the same model and pictures")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    start = time.perf_counter()
    w = read_safetensors(args.model)
    paths, patch = list_pictures(args.data), w["patch_embed.proj.weight"].shape[-1]
    count = min(args.images, len(paths)) if args.images else len(paths)
    paths = [paths[i * len(paths) // count] for i in range(count)]
    classes = int("cls_token" in w)
    side = math.isqrt(w["pos_embed"].shape[1] - classes)
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([y.flatten(), x.flatten()], 1).float()
    distances = patch * torch.cdist(places, places)
    cka_batch = max(4, count // -(-count // args.cka_batch))
    pictures = Pictures(paths, side * patch, torch.tensor(args.mean), torch.tensor(args.std))
    loader = torch.utils.data.DataLoader(pictures, args.batch, num_workers=args.workers)
    heads, shares, ranks, amplitudes = {}, {}, {}, {}
    means, firsts = Similarity(cka_batch), Similarity(cka_batch)
    with torch.inference_mode():
        for batch in loader:
            states, maps = forward(w, batch, args.heads, args.eps)
            tokens = [s[:, classes:] for s in states]
            for b, a in enumerate(maps):
                for name, value in head_numbers(a, distances, classes).items():
                    heads.setdefault(b, {})[name] = heads.get(b, {}).get(name, 0) + value
            for layer, t in enumerate(tokens):
                if layer:
                    share, rank = token_numbers(t)
                    shares[layer] = shares.get(layer, 0) + share
                    ranks[layer] = ranks.get(layer, 0) + rank
                amplitudes[layer] = amplitudes.get(layer, 0) + amplitude_sum(t, side, side)
            means.add([t.mean(1) for t in tokens])
            if classes:
                firsts.add([s[:, 0] for s in states])
    result = {
        "heads": {b: {k: v / count for k, v in numbers.items()} for b, numbers in heads.items()},
        "shares": {k: v / count for k, v in shares.items()},
        "ranks": {k: v / count for k, v in ranks.items()},
        "amplitudes": {k: v / count for k, v in amplitudes.items()},
        "cka": means.result(),
    }
    if classes:
        result["cka_class"] = firsts.result()
    seconds = time.perf_counter() - start
    good = not args.compare or compare(result, args.compare, count)
    about = {
        "torch": torch.__version__, "processor": platform.processor(), "threads": torch.get_num_threads(), "pictures": count,
        "seconds": seconds, "pictures_per_second": count / seconds,
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
    print(json.dumps(about))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()

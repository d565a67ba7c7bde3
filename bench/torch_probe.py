#!/usr/bin/env python3
"""kNN and MAE's linear probe in PyTorch on the features that `lacuna embed` wrote, to hold `lacuna probe` against.
With several learning rates each is held against VAL, as `lacuna probe --choose val` does.
  torch_probe.py TRAIN.npy VAL.npy [--k 20,10] [--lrs 1,3,10] [--epochs 90] [--batch-size 1024] [--seeds 5]   prints one JSON object."""
import argparse
import csv
import json
import math

import numpy as np
import torch

parser = argparse.ArgumentParser()
parser.add_argument("train")
parser.add_argument("val")
parser.add_argument("--k", default="20,10,100,200")
parser.add_argument("--temperature", type=float, default=0.07)
parser.add_argument("--lrs", default="0.03,0.1,0.3,1,3,10,30")
parser.add_argument("--epochs", type=int, default=90)
parser.add_argument("--batch-size", type=int, default=1024)
parser.add_argument("--seeds", type=int, default=5)
options = parser.parse_args()


def read(path, classes=None):
    """Features (n, D) and labels by the names that stand beside them."""
    names = [row["label"] for row in csv.DictReader(open(path + ".names.csv", newline=""))]
    classes = classes or sorted(set(names))
    return torch.from_numpy(np.load(path)), torch.tensor([classes.index(name) for name in names]), classes


def knn(train, labels, val, answers, classes, k):
    near, index = (torch.nn.functional.normalize(val) @ torch.nn.functional.normalize(train).T).topk(k)
    votes = torch.zeros(len(val), classes, dtype=torch.float64)
    votes.scatter_add_(1, labels[index], (near.double() / options.temperature).exp())
    return (votes.argmax(1) == answers).double().mean().item()


def lars_step(parameters, momenta, lr):
    for weight, momentum in zip(parameters, momenta):
        gradient = weight.grad
        if weight.dim() > 1:
            norm, slope = weight.norm(), gradient.norm()
            gradient = gradient * (0.001 * norm / slope if norm > 0 and slope > 0 else 1.0)
        momentum.mul_(0.9).add_(gradient)
        weight.sub_(lr * momentum)


def linear(train, labels, val, answers, classes, base, seed):
    torch.manual_seed(seed)
    norm = torch.nn.BatchNorm1d(train.shape[1], affine=False, eps=1e-6)
    head = torch.nn.Linear(train.shape[1], classes)
    torch.nn.init.normal_(head.weight, std=0.01)
    torch.nn.init.zeros_(head.bias)
    batch = min(options.batch_size, len(train))
    steps, warmup, peak = len(train) // batch, options.epochs / 9, base * batch / 256
    momenta = [torch.zeros_like(p) for p in head.parameters()]
    for epoch in range(options.epochs):
        order = torch.randperm(len(train))
        for step in range(steps):
            at = epoch + step / steps
            share = at / warmup if at < warmup else 0.5 * (1 + math.cos(math.pi * (at - warmup) / (options.epochs - warmup)))
            chosen = order[step * batch : (step + 1) * batch]
            head.zero_grad()
            torch.nn.functional.cross_entropy(head(norm(train[chosen])), labels[chosen]).backward()
            with torch.no_grad():
                lars_step(list(head.parameters()), momenta, peak * share)
    norm.eval()
    with torch.no_grad():
        return (head(norm(val)).argmax(1) == answers).double().mean().item()


train, labels, names = read(options.train)
val, answers, _ = read(options.val, names)
data = (train, labels, val, answers, len(names))
report = {"knn": {k: knn(*data, int(k)) for k in options.k.split(",") if int(k) <= len(train)}, "linear": {}}
for lr in options.lrs.split(","):
    scores = [linear(*data, float(lr), seed) for seed in range(options.seeds)]
    report["linear"][lr] = {"top1": sum(scores) / len(scores), "scores": scores}
print(json.dumps(report))

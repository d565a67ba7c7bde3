#!/usr/bin/env python3
"""Writes mocov3.json and mocov3.safetensors: three steps of MoCo v3 (docs/spec/pretraining.md 14) in float64 by PyTorch's own
differentiation. Wants torch and safetensors: python3 make_mocov3.py [FOLDER]"""
import json, math, sys
import torch
from safetensors.torch import save_file

torch.set_default_dtype(torch.float64)
N, C, H, W, P, D, DEPTH, HEADS, HIDDEN, DIM, STEPS, PER_EPOCH = 12, 3, 8, 12, 4, 16, 2, 2, 12, 8, 3, 2
LR, DECAY, BETAS, EPS, TEMPERATURE, MOMENTUM, EPOCHS, WARMUP = 4e-3, 2.0, (0.9, 0.999), 1e-2, 0.2, 0.9, 4, 1
rows, columns = H // P, W // P
generator = torch.Generator().manual_seed(11)


def normal(*shape, scale=1.0):
    return (torch.randn(*shape, generator=generator) * scale).float().double()


def table():
    run = D // 4
    f = 10000.0 ** (-torch.arange(run) / run)
    out = [torch.zeros(D)]
    for r in range(rows):
        for s in range(columns):
            out.append(torch.cat([torch.sin(r * f), torch.cos(r * f), torch.sin(s * f), torch.cos(s * f)]))
    return torch.stack(out)[None]


def first_weights():
    w = {"patch_embed.proj.weight": normal(D, C, P, P, scale=0.1), "patch_embed.proj.bias": normal(D, scale=0.1),
         "cls_token": normal(1, 1, D, scale=0.5)}
    for i in range(DEPTH):
        b = f"blocks.{i}."
        for norm in ("norm1", "norm2"):
            w[b + norm + ".weight"], w[b + norm + ".bias"] = 1 + normal(D, scale=0.1), normal(D, scale=0.1)
        for name, out, into in (("attn.qkv", 3 * D, D), ("attn.proj", D, D), ("mlp.fc1", 4 * D, D), ("mlp.fc2", D, 4 * D)):
            w[b + name + ".weight"], w[b + name + ".bias"] = normal(out, into, scale=0.2), normal(out, scale=0.1)
    w["norm.weight"], w["norm.bias"] = 1 + normal(D, scale=0.1), normal(D, scale=0.1)
    for head, widths in (("projector", (HIDDEN, HIDDEN, DIM)), ("predictor", (HIDDEN, DIM))):
        into = D if head == "projector" else DIM
        for i, out in enumerate(widths):
            w[f"{head}.{i}.weight"] = normal(out, into, scale=0.3)
            if i + 1 < len(widths):
                w[f"{head}.{i}.norm.weight"], w[f"{head}.{i}.norm.bias"] = 1 + normal(out, scale=0.1), normal(out, scale=0.1)
            into = out
    return {k: v.float().double() for k, v in w.items()}


def layer_norm(x, w, name):
    return torch.nn.functional.layer_norm(x, (D,), w[name + ".weight"], w[name + ".bias"], 1e-6)


def encode(w, image):
    x = torch.nn.functional.conv2d(image, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=P)
    x = torch.cat([w["cls_token"].expand(len(x), 1, D), x.flatten(2).transpose(1, 2)], 1) + table()
    for i in range(DEPTH):
        b = f"blocks.{i}."
        q, k, v = (layer_norm(x, w, b + "norm1") @ w[b + "attn.qkv.weight"].T + w[b + "attn.qkv.bias"]).reshape(
            len(x), -1, 3, HEADS, D // HEADS).permute(2, 0, 3, 1, 4)
        a = (q @ k.transpose(-1, -2) / math.sqrt(D // HEADS)).softmax(-1) @ v
        x = x + a.transpose(1, 2).reshape(x.shape) @ w[b + "attn.proj.weight"].T + w[b + "attn.proj.bias"]
        h = torch.nn.functional.gelu(layer_norm(x, w, b + "norm2") @ w[b + "mlp.fc1.weight"].T + w[b + "mlp.fc1.bias"])
        x = x + h @ w[b + "mlp.fc2.weight"].T + w[b + "mlp.fc2.bias"]
    return layer_norm(x, w, "norm")[:, 0]


def head(w, name, x, maps):
    for i in range(maps):
        x = x @ w[f"{name}.{i}.weight"].T
        x = (x - x.mean(0)) / torch.sqrt(x.var(0, unbiased=False) + 1e-5)
        if i + 1 < maps:
            x = torch.relu(x * w[f"{name}.{i}.norm.weight"] + w[f"{name}.{i}.norm.bias"])
    return x


def loss_of(w, averaged, views):
    queries = [head(w, "predictor", head(w, "projector", encode(w, v), 3), 2) for v in views]
    with torch.no_grad():
        keys = [head(averaged, "projector", encode(averaged, v), 3) for v in views]
    total = 0
    for q, k in ((queries[0], keys[1]), (queries[1], keys[0])):
        q, k = torch.nn.functional.normalize(q, dim=1), torch.nn.functional.normalize(k, dim=1)
        total = total + 2 * TEMPERATURE * torch.nn.functional.cross_entropy(q @ k.T / TEMPERATURE, torch.arange(N))
    return total


def main(folder):
    w = {k: v.clone().requires_grad_(not k.startswith("patch_embed")) for k, v in first_weights().items()}
    averaged = {k: v.detach().clone() for k, v in w.items() if not k.startswith("predictor")}
    out = {"weight." + k: v.detach().clone() for k, v in w.items()}
    out["weight.pos_embed"] = table()
    trained = [k for k in w if w[k].requires_grad]
    moments = {k: (torch.zeros_like(w[k]), torch.zeros_like(w[k])) for k in trained}
    series = {"lr": [], "loss": [], "grad_norm": []}
    for step in range(STEPS):
        views = [normal(N, C, H, W), normal(N, C, H, W)]
        out[f"image.{step}"], out[f"second.{step}"] = views
        epoch = step / PER_EPOCH
        lr = LR * epoch / WARMUP if epoch < WARMUP else LR * (1 + math.cos(math.pi * (epoch - WARMUP) / (EPOCHS - WARMUP))) / 2
        m = 1 - (1 - MOMENTUM) * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2
        with torch.no_grad():  # before the keys' pass, with the weights of the queries'
            for k in averaged:
                averaged[k] = m * averaged[k] + (1 - m) * w[k]
        loss = loss_of(w, averaged, views)
        grads = dict(zip(trained, torch.autograd.grad(loss, [w[k] for k in trained])))
        series["lr"].append(lr)
        series["loss"].append(loss.item())
        series["grad_norm"].append(math.sqrt(sum((g * g).sum().item() for g in grads.values())))
        with torch.no_grad():
            for k in trained:
                if step == 0:
                    out["grad." + k] = grads[k].clone()
                first, second = moments[k]
                w[k] *= 1 - lr * DECAY
                first.mul_(BETAS[0]).add_((1 - BETAS[0]) * grads[k])
                second.mul_(BETAS[1]).add_((1 - BETAS[1]) * grads[k] ** 2)
                w[k] -= lr / (1 - BETAS[0] ** (step + 1)) * first / (torch.sqrt(second / (1 - BETAS[1] ** (step + 1))) + EPS)
    with torch.no_grad():  # as the next step would begin
        m = 1 - (1 - MOMENTUM) * (1 + math.cos(math.pi * STEPS / PER_EPOCH / EPOCHS)) / 2
        for k in averaged:
            out["expect.averaged." + k] = m * averaged[k] + (1 - m) * w[k]
    for k in w:
        out["after." + k] = w[k].detach()
        if k not in trained:
            out["grad." + k] = torch.zeros_like(w[k])
    del out["grad.norm.bias"]  # a batch norm takes it away again: zero but for rounding
    for k, v in series.items():
        out["expect." + k] = torch.tensor(v)
    save_file({k: v.float().contiguous() for k, v in out.items()}, folder + "/mocov3.safetensors")
    recipe = {
        "image": {"size": [H, W], "channels": C, "mean": "imagenet", "std": "imagenet"},
        "data": {"val_every": 0},
        "encoder": {"kind": "vit", "patch": P, "width": D, "depth": DEPTH, "heads": HEADS, "init": "moco"},
        "decoders": [],
        "contrast": {"kind": "mocov3", "dim": DIM, "hidden": HIDDEN, "temperature": TEMPERATURE, "momentum": MOMENTUM},
        "optimizer": {"betas": BETAS, "eps": EPS, "weight_decay": DECAY, "decay_all": True},
        "schedule": {"batch_size": N, "epochs": EPOCHS, "warmup_epochs": WARMUP, "lr": LR},
        "case": {"kind": "contrast",
                 "proves": "MoCo v3: two views, momentum encoder before the keys' pass, batch norms, InfoNCE, frozen patches, rows "
                           "first in the table, decay on all",
                 "steps": STEPS, "steps_per_epoch": PER_EPOCH,
                 "tolerance": {"loss": 1e-5, "lr": 1e-6, "grad_norm": 5e-5, "grad": 5e-2, "after": 3e-3, "averaged": 3e-3}}}
    with open(folder + "/mocov3.json", "w") as f:
        json.dump(recipe, f, indent=1)
        f.write("\n")


main(sys.argv[1] if len(sys.argv) > 1 else ".")

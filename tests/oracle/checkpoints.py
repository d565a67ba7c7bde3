"""Files of other projects, written by the real libraries, read by lacuna: its features agree to 1e-5 with timm's own network on the
same pictures, or, for projects that are not installed here, with a plain forward pass in torch on a state dict of the same names,
shapes and container (docs/spec/transfer.md D).

    python tests/oracle/checkpoints.py build/lacuna
"""
import argparse
import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

warnings.filterwarnings("ignore")
program = pathlib.Path(sys.argv[1]).resolve()
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SIZE, PATCH, GRID, WIDTH, HEADS, DEPTH = 64, 16, 4, 192, 3, 3
torch.manual_seed(0)


def pictures(folder, height=73, width=73):
    """Pictures of 8/7 of the size, so that they are cut and not resized."""
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (3, height, width, 3), dtype=np.uint8)
    for i, p in enumerate(pixels):
        Image.fromarray(p).save(folder / f"{i}.png")
    top = int(round((height - SIZE) / 2))
    return torch.from_numpy(pixels[:, top : top + SIZE, top : top + SIZE].copy()).permute(0, 3, 1, 2).float() / 255


def normalised(x, statistics):
    mean, std = (torch.tensor(s).view(1, 3, 1, 1) for s in statistics)
    return (x - mean) / std


def embed(path, data, out, block="last", pool="none"):
    out.unlink(missing_ok=True)
    subprocess.run([program, "embed", "--from", path, "--data", data, "--out", out, "--block", block, "--pool", pool], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return torch.from_numpy(np.load(out)).reshape(3, -1, np.load(out).shape[-1])


# ---- a plain forward pass under our names


def relative_bias(table, grid):
    """Biases of class token and patches, as BEiT numbers them: the three last rows are those of the class token."""
    side = 2 * grid - 1
    at = torch.stack(torch.meshgrid(torch.arange(grid), torch.arange(grid), indexing="ij")).flatten(1)
    delta = at[:, :, None] - at[:, None, :] + grid - 1
    index = torch.zeros(grid * grid + 1, grid * grid + 1, dtype=torch.long)
    index[1:, 1:] = delta[0] * side + delta[1]
    index[0, 1:], index[1:, 0], index[0, 0] = side * side, side * side + 1, side * side + 2
    return table[index].permute(2, 0, 1)


def forward(w, x, heads, eps, act=F.gelu):
    """The states behind each block and the last one behind the norm."""
    width = w["patch_embed.proj.weight"].shape[0]
    norm = lambda x, name: F.layer_norm(x, (width,), w[name + ".weight"], w[name + ".bias"], eps)
    x = F.conv2d(x, w["patch_embed.proj.weight"], w.get("patch_embed.proj.bias"), stride=w["patch_embed.proj.weight"].shape[-1])
    x = x.flatten(2).transpose(1, 2)
    if "cls_token" in w:
        x = torch.cat([w["cls_token"].expand(len(x), -1, -1), x], 1)
    if "pos_embed" in w:
        x = x + w["pos_embed"]
    if "norm_pre.weight" in w:
        x = norm(x, "norm_pre")
    states, i = [], 0
    while f"blocks.{i}.norm1.weight" in w:
        b = f"blocks.{i}."
        bias = w.get(b + "attn.qkv.bias")
        if b + "attn.q_bias" in w:
            bias = torch.cat([w[b + "attn.q_bias"], torch.zeros(width), w[b + "attn.v_bias"]])
        q, k, v = F.linear(norm(x, b + "norm1"), w[b + "attn.qkv.weight"], bias).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        logits = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        table = w.get("rel_pos_bias.relative_position_bias_table", w.get(b + "attn.relative_position_bias_table"))
        if table is not None:
            logits = logits + relative_bias(table, GRID)
        y = (logits.softmax(-1) @ v).transpose(1, 2).flatten(2)
        y = F.linear(y, w[b + "attn.proj.weight"], w[b + "attn.proj.bias"])
        x = x + y * w.get(b + "ls1.gamma", torch.ones(1))
        y = act(F.linear(norm(x, b + "norm2"), w[b + "mlp.fc1.weight"], w[b + "mlp.fc1.bias"]))
        y = F.linear(y, w[b + "mlp.fc2.weight"], w[b + "mlp.fc2.bias"])
        x = x + y * w.get(b + "ls2.gamma", torch.ones(1))
        states.append(x)
        i += 1
    if "norm.weight" in w:
        states.append(norm(x, "norm"))
    return states


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


# ---- weights under our names


def draw(*shape, scale=0.05):
    return torch.randn(*shape) * scale


def block(w, prefix, width, bias="all", scale=False):
    for name in ("norm1", "norm2"):
        w[prefix + name + ".weight"] = 1 + draw(width)
        w[prefix + name + ".bias"] = draw(width)
    w[prefix + "attn.qkv.weight"] = draw(3 * width, width)
    if bias == "all":
        w[prefix + "attn.qkv.bias"] = draw(3 * width)
    else:
        w[prefix + "attn.q_bias"], w[prefix + "attn.v_bias"] = draw(width), draw(width)
    w[prefix + "attn.proj.weight"], w[prefix + "attn.proj.bias"] = draw(width, width), draw(width)
    w[prefix + "mlp.fc1.weight"], w[prefix + "mlp.fc1.bias"] = draw(4 * width, width), draw(4 * width)
    w[prefix + "mlp.fc2.weight"], w[prefix + "mlp.fc2.bias"] = draw(width, 4 * width), draw(width)
    if scale:
        w[prefix + "ls1.gamma"], w[prefix + "ls2.gamma"] = 0.1 + draw(width), 0.1 + draw(width)


def sincos(width, grid):
    """MAE's table: the first half of a row is of its column."""
    omega = 1 / 10000 ** (np.arange(width // 4, dtype=float) / (width / 4))
    row, column = np.divmod(np.arange(grid * grid), grid)
    parts = [f(np.outer(p, omega)) for p in (column, row) for f in (np.sin, np.cos)]
    return torch.from_numpy(np.concatenate([np.zeros((1, width)), np.concatenate(parts, 1)])).float()[None]


def vit(width=WIDTH, depth=DEPTH, bias="all", scale=False, position="sincos"):
    w = collections.OrderedDict(cls_token=draw(1, 1, width))
    if position == "sincos":
        w["pos_embed"] = sincos(width, GRID)
    elif position == "learned":
        w["pos_embed"] = draw(1, 1 + GRID * GRID, width)
    w["patch_embed.proj.weight"], w["patch_embed.proj.bias"] = draw(width, 3, PATCH, PATCH), draw(width)
    rows = (2 * GRID - 1) ** 2 + 3
    if position == "relative":
        w["rel_pos_bias.relative_position_bias_table"] = draw(rows, width // 64, scale=1)
    for i in range(depth):
        block(w, f"blocks.{i}.", width, bias, scale)
        if position == "relative_per_block":
            w[f"blocks.{i}.attn.relative_position_bias_table"] = draw(rows, width // 64, scale=1)
    w["norm.weight"], w["norm.bias"] = 1 + draw(width), draw(width)
    return w


def decoder(names, width=64, outputs=3 * PATCH * PATCH, depth=2):
    """A decoder of MAE; `names` has those of embed, norm, blocks, pred, mask_token."""
    w = collections.OrderedDict()
    w[names["mask_token"]] = draw(1, 1, width)
    for part, shape in (("embed", (width, WIDTH)), ("pred", (outputs, width))):
        w[names[part] + ".weight"], w[names[part] + ".bias"] = draw(*shape), draw(shape[0])
    w[names["norm"] + ".weight"], w[names["norm"] + ".bias"] = 1 + draw(width), draw(width)
    for i in range(depth):
        block(w, f"{names['blocks']}.{i}.", width)
    return w


def renamed(w, rules, qkv=None, split=None):
    """Names by pairs of pieces in order; qkv becomes three tensors under the names of `split`."""
    out = collections.OrderedDict()
    for name, tensor in w.items():
        for ours, theirs in rules:
            name = name.replace(ours, theirs)
        if split and ".attn.qkv." in name:
            for part, key in zip(tensor.chunk(3), split):
                out[name.replace("attn.qkv", key)] = part.clone()
        else:
            out[name] = tensor
    return out


def hf(w, new=False):
    rules = [("cls_token", "embeddings.cls_token"), ("pos_embed", "embeddings.position_embeddings"),
             ("patch_embed.proj", "embeddings.patch_embeddings.projection"), ("norm1", "layernorm_before"),
             ("norm2", "layernorm_after")]
    final = {"norm.weight": "layernorm.weight", "norm.bias": "layernorm.bias"}
    w = collections.OrderedDict((final.get(k, k), v) for k, v in w.items())
    if new:
        rules += [("blocks.", "layers."), ("attn.proj", "attention.o_proj")]
        return renamed(w, rules, split=["attention.q_proj", "attention.k_proj", "attention.v_proj"])
    rules += [("blocks.", "encoder.layer."), ("attn.proj", "attention.output.dense"), ("mlp.fc1", "intermediate.dense"),
              ("mlp.fc2", "output.dense")]
    return renamed(w, rules, split=["attention.attention.query", "attention.attention.key", "attention.attention.value"])


def clip_own():
    w = vit(position="learned")
    del w["patch_embed.proj.bias"]
    w["norm_pre.weight"], w["norm_pre.bias"] = 1 + draw(WIDTH), draw(WIDTH)
    return w


def clip_openai(w):
    rules = [("blocks.", "transformer.resblocks."), ("norm1", "ln_1"), ("norm2", "ln_2"), ("attn.qkv.", "attn.in_proj_"),
             ("attn.proj", "attn.out_proj"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj"), ("norm_pre", "ln_pre"),
             ("patch_embed.proj", "conv1"), ("cls_token", "class_embedding"), ("pos_embed", "positional_embedding")]
    out = renamed(w, rules)
    for end in ("weight", "bias"):
        out["ln_post." + end] = out.pop("norm." + end)
    out["class_embedding"], out["positional_embedding"] = out["class_embedding"].flatten(), out["positional_embedding"][0]
    out["proj"] = draw(WIDTH, 40)
    return out


def clip_hf(w):
    rules = [("blocks.", "encoder.layers."), ("norm1", "layer_norm1"), ("norm2", "layer_norm2"), ("attn.proj", "self_attn.out_proj"),
             ("norm_pre", "pre_layrnorm"), ("patch_embed.proj", "embeddings.patch_embedding"),
             ("cls_token", "embeddings.class_embedding"), ("pos_embed", "embeddings.position_embedding.weight")]
    out = renamed(w, rules, split=["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"])
    for end in ("weight", "bias"):
        out["post_layernorm." + end] = out.pop("norm." + end)
    out["embeddings.class_embedding"] = out["embeddings.class_embedding"].flatten()
    out["embeddings.position_embedding.weight"] = out["embeddings.position_embedding.weight"][0]
    out = collections.OrderedDict(("vision_model." + k, v) for k, v in out.items())
    out["vision_model.embeddings.position_ids"] = torch.arange(1 + GRID * GRID)[None]
    out["visual_projection.weight"] = draw(40, WIDTH)
    return out


class Bag(torch.nn.Module):
    """Modules and parameters by dotted names, so that TorchScript's archive has the attributes of a real network."""

    def __init__(self, tensors):
        super().__init__()
        inner = collections.OrderedDict()
        for name, tensor in tensors.items():
            head, _, rest = name.partition(".")
            if rest:
                inner.setdefault(head, collections.OrderedDict())[rest] = tensor
            else:
                self.register_parameter(head, torch.nn.Parameter(tensor))
        for name, tensors in inner.items():
            self.add_module(name, Bag(tensors))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def prefixed(prefix, w):
    return collections.OrderedDict((prefix + k, v) for k, v in w.items())


# ---- cases: (name, path, own weights or a network, heads, eps, activation, statistics, states compared)

worst = 0.0


def compare(name, got, wanted, limit=1e-5):
    global worst
    assert got.shape == wanted.shape, (name, got.shape, wanted.shape)
    error = ((got - wanted).abs().max() / wanted.abs().max()).item()
    worst = max(worst, error)
    print(f"{name:34} largest error {error:.1e}")
    assert error < limit, name


def check(name, path, work, x, w, heads=HEADS, eps=1e-6, act=F.gelu, statistics=IMAGENET):
    states = forward(w, normalised(x, statistics), heads, eps, act)
    first = int("cls_token" in w)
    got = embed(path, work / "data", work / "out.npy")
    compare(name, got, states[-1][:, first:])
    shown = subprocess.run([program, "show", path], check=True, capture_output=True, text=True).stdout
    assert "unexpected  0 tensors" in shown, shown
    return shown


def timm_cases(work, x):
    variants = {
        "plain": ("vit_tiny_patch16_224", dict(class_token=True)),
        "layer scale": ("vit_tiny_patch16_224", dict(init_values=0.1)),
        "no_embed_class": ("vit_tiny_patch16_224", dict(no_embed_class=True)),
        "no class token": ("vit_tiny_patch16_224", dict(class_token=False, global_pool="avg", fc_norm=False)),
        "no qkv bias": ("vit_tiny_patch16_224", dict(qkv_bias=False)),
        "fc_norm": ("vit_tiny_patch16_224", dict(global_pool="avg", fc_norm=True)),
        "clip": ("vit_base_patch16_clip_224", dict(embed_dim=192, num_heads=3)),
        "clip quickgelu": ("vit_base_patch16_clip_quickgelu_224", dict(embed_dim=192, num_heads=3)),
    }
    for title, (architecture, arguments) in variants.items():
        model = timm.create_model(architecture, img_size=SIZE, depth=DEPTH, num_classes=7, **arguments).eval()
        with torch.no_grad():
            for p in model.parameters():
                p += draw(*p.shape, scale=0.03)
        clip = "clip" in title
        folder = work / ("timm " + title)
        folder.mkdir()
        save_file(model.state_dict(), folder / "model.safetensors")
        cfg = {"mean": CLIP[0] if clip else HALF[0], "std": CLIP[1] if clip else HALF[1], "input_size": [3, SIZE, SIZE]}
        (folder / "config.json").write_text(json.dumps({"architecture": architecture, "pretrained_cfg": cfg,
                                                         "model_args": {"num_heads": HEADS}}))
        files = [(folder, CLIP if clip else HALF)]
        if title in ("plain", "layer scale"): # what one file alone tells
            for kind in ("zip", "legacy", "half"):
                path = work / f"timm {title} {kind}.pth"
                state = model.state_dict()
                if kind == "half":
                    state = {k: v.to(torch.float16 if "weight" in k else torch.bfloat16) for k, v in state.items()}
                torch.save(state if kind == "half" else {"state_dict": state, "epoch": 3, "arch": architecture}, path,
                           _use_new_zipfile_serialization=kind != "legacy")
                files.append((path, IMAGENET))
        for path, statistics in files:
            if path.name.endswith("half.pth"):
                model.load_state_dict(torch.load(path))
            with torch.no_grad():
                tokens = model.forward_features(normalised(x, statistics))[:, model.num_prefix_tokens :]
            block = str(DEPTH) if title == "fc_norm" else "last"
            compare(f"timm itself, {path.name}", embed(path, work / "data", work / "out.npy", block), tokens)


def main(work):
    x = pictures(work / "data")
    timm_cases(work, x)
    arguments = argparse.Namespace(model="mae_vit", norm_pix_loss=True, lr=None)
    extra = {"optimizer": {"state": {0: {"exp_avg": draw(2)}}, "param_groups": [{"lr": 1e-3}]}, "epoch": 3, "args": arguments,
             "scaler": {"scale": 65536.0}}

    own = vit()
    torch.save({"model": own}, work / "mae.pth")
    check("MAE's encoder, dBOT's teacher", work / "mae.pth", work, x, own)
    names = {"embed": "decoder_embed", "norm": "decoder_norm", "blocks": "decoder_blocks", "pred": "decoder_pred",
             "mask_token": "mask_token"}
    full = collections.OrderedDict(own, decoder_pos_embed=sincos(64, GRID), **decoder(names))
    torch.save({"model": full, **extra}, work / "mae_full.pth")
    shown = check("MAE with its decoder", work / "mae_full.pth", work, x, own)
    assert "target.normalise: none -> patch" in shown and "sincos" not in shown, shown
    names = {**names, "pred": "decoder_predp"}
    student = collections.OrderedDict(own, decoder_pos_embed=sincos(64, GRID), **decoder(names, outputs=WIDTH))
    torch.save({"model": prefixed("module.", student), **extra}, work / "dbot.pth")
    check("dBOT's student", work / "dbot.pth", work, x, own)

    deep = vit(depth=12)
    all_decoders = collections.OrderedDict(deep, decoder_pos_embed=sincos(64, GRID))
    for n in range(1, 5):
        all_decoders.update(decoder({"embed": f"decoder_embed{n}", "norm": f"decoder_norm{n}", "blocks": f"decoder_blocks{n}",
                                     "pred": f"decoder_pred{n}", "mask_token": f"mask_token{n}"}, outputs=512, depth=1))
    torch.save({"model": all_decoders, **extra}, work / "deepmim.pth")
    shown = check("DeepMIM", work / "deepmim.pth", work, x, deep)
    assert "block 6, block 8, block 10 and the last block" in shown, shown

    gammas = [("ls1.gamma", "gamma_1"), ("ls2.gamma", "gamma_2")]
    own = vit(bias="no_k", scale=True, position="relative")
    simmim = prefixed("encoder.", renamed(own, gammas))
    simmim["encoder.mask_token"] = draw(1, 1, WIDTH)
    simmim["encoder.rel_pos_bias.relative_position_index"] = torch.zeros(17, 17, dtype=torch.long)
    simmim["decoder.0.weight"], simmim["decoder.0.bias"] = draw(768, WIDTH, 1, 1), draw(768)
    torch.save({"model": simmim, "max_accuracy": 0.0, "config": arguments, "lr_scheduler": {}}, work / "simmim.pth")
    check("SimMIM's ViT", work / "simmim.pth", work, x, own)
    own = vit(bias="no_k", scale=True, position="relative_per_block")
    beit = renamed(own, gammas)
    torch.save({"module": beit}, work / "beit.pth")
    check("BEiT's style, a table a block", work / "beit.pth", work, x, own)

    own = vit(position="learned")
    config = {"model_type": "vit", "hidden_size": WIDTH, "num_attention_heads": HEADS, "layer_norm_eps": 1e-6, "hidden_act": "gelu",
              "image_size": SIZE, "patch_size": PATCH}
    for title, state in (("old", hf(own)), ("new", prefixed("vit.", hf(own, new=True)))):
        folder = work / f"hf {title}"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": HALF[0], "image_std": HALF[1]}))
        if title == "old":
            items = list(state.items())
            for i in range(2):
                save_file(dict(items[i::2]), folder / f"model-{i}.safetensors", metadata={"format": "pt"})
            (folder / "model.safetensors.index.json").write_text(json.dumps(
                {"weight_map": {k: f"model-{n % 2}.safetensors" for n, (k, _) in enumerate(items)}}))
        else:
            state["classifier.weight"], state["classifier.bias"] = draw(7, WIDTH), draw(7)
            torch.save(state, folder / "pytorch_model.bin")
        check(f"Hugging Face ViT, {title} names", folder, work, x, own, statistics=HALF)
    own = vit()
    mae = prefixed("vit.", hf(own))
    names = {"embed": "decoder.decoder_embed", "norm": "decoder.decoder_norm", "blocks": "decoder.decoder_layers",
             "pred": "decoder.decoder_pred", "mask_token": "decoder.mask_token"}
    mae.update(renamed(decoder(names), [("norm1", "layernorm_before"), ("norm2", "layernorm_after"),
                                        ("attn.proj", "attention.output.dense"), ("mlp.fc1", "intermediate.dense"),
                                        ("mlp.fc2", "output.dense")],
                       split=["attention.attention.query", "attention.attention.key", "attention.attention.value"]))
    mae["decoder.decoder_pos_embed"] = sincos(64, GRID)
    torch.save(mae, work / "vitmae.bin")
    check("Hugging Face ViTMAE", work / "vitmae.bin", work, x, own, eps=1e-12)

    own = clip_own()
    openai = prefixed("visual.", clip_openai(own))
    text = {"positional_embedding": draw(77, 8), "text_projection": draw(8, 40), "logit_scale": torch.tensor(4.6),
            "transformer.resblocks.0.ln_1.weight": draw(8), "token_embedding.weight": draw(20, 8), "ln_final.weight": draw(8)}
    torch.save(collections.OrderedDict(text, **openai), work / "clip.pth")
    options = dict(eps=1e-5, act=quick_gelu, statistics=CLIP)
    check("CLIP, OpenAI's names", work / "clip.pth", work, x, own, **options)
    halves = collections.OrderedDict((k, v.half()) for k, v in dict(text, **openai).items())
    bag = Bag(halves)
    bag.register_buffer("input_resolution", torch.tensor(SIZE))
    torch.jit.save(torch.jit.script(bag), work / "clip.pt")
    check("CLIP, TorchScript in f16", work / "clip.pt", work, x, {k: v.half().float() for k, v in own.items()}, **options)
    folder = work / "hf clip"
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in clip_hf(own).items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"vision_config": {"hidden_act": "gelu", "num_attention_heads": HEADS}}))
    check("CLIP, Hugging Face's names", folder, work, x, own, eps=1e-5, statistics=CLIP)

    own, other = vit(position="learned"), vit(position="learned")
    heads = {"head.mlp.0.weight": draw(8, WIDTH), "head.last_layer.weight_g": draw(8, 1), "head.last_layer.weight_v": draw(8, 8)}
    torch.save({"student": prefixed("module.backbone.", other), "teacher": {**prefixed("backbone.", own), **heads},
                "dino_loss": {"center": draw(1, 8)}, **extra}, work / "dino.pth")
    check("DINO's teacher", work / "dino.pth", work, x, own)
    check("DINO's student, by #student", f"{work}/dino.pth#student", work, x, other)

    own, other = vit(width=384, depth=2, position="learned"), vit(width=384, depth=2, position="learned")
    state = collections.OrderedDict(prefixed("module.base_encoder.", own), **prefixed("module.momentum_encoder.", other))
    state["module.predictor.0.weight"], state["module.base_encoder.head.0.weight"] = draw(8, 8), draw(8, 384)
    torch.save({"epoch": 300, "arch": "vit_small", "state_dict": state, "optimizer": {}, "scaler": {}}, work / "moco.pth.tar")
    check("MoCo v3", work / "moco.pth.tar", work, x, own, heads=12)
    check("MoCo v3, by #momentum_encoder", f"{work}/moco.pth.tar#momentum_encoder", work, x, other, heads=12)

    # A teacher and a beginning: CLIP teaches behind its projection, a run goes on from MAE's encoder and decoder.
    (work / "run.yaml").write_text(f"""
image: {{size: {SIZE}}}
data: {{train: world, world_images: 32, val_share: 0, workers: 1}}
encoder: {{patch: 16, width: {WIDTH}, depth: {DEPTH}, heads: {HEADS}}}
decoders: [{{tap: last, width: 64, depth: 2, heads: 16}}]
schedule: {{batch_size: 16, epochs: 1, warmup_epochs: 0, lr: 1e-3}}
""")
    for title, settings in (("teacher", ["target.kind=features", f"target.teacher={work}/clip.pt", "target.projection=true",
                                         "target.final_norm=true"]),
                            ("start", [f"run.from={work}/mae_full.pth"])):
        done = subprocess.run([program, "pretrain", work / "run.yaml", "--out", work / title, "--quiet", *settings],
                              capture_output=True, text=True)
        assert done.returncode == 0 and "anew" not in done.stdout + done.stderr, done.stderr
        print(f"{title:34} trains")


with tempfile.TemporaryDirectory() as work:
    main(pathlib.Path(work))

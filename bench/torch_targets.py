"""What torch_mae.py trains as dbot_s and simmim_s, both of ViT-S.

dbot_s: MAE's student (decoder 256 x 4 blocks) predicts the standardised tokens of a frozen ViT-S, class token included, smooth L1 with beta 2.
simmim_s: all 197 tokens in the encoder, mask tokens, a shared relative position bias, layer scale, no bias of keys, a linear head, L1.
"""
import torch
from torch import nn
from torch.nn import functional as F
from timm.models.vision_transformer import Block

import torch_mae


class Teacher(nn.Module):
    def __init__(self, patch, width, depth, heads, side):
        super().__init__()
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.pos = nn.Parameter(torch_mae.sincos(width, side))
        self.blocks = nn.ModuleList([Block(width, heads, 4, qkv_bias=True) for _ in range(depth)])

    def forward(self, im):
        x = self.embed(im).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1).to(x.dtype), x], 1) + self.pos
        for b in self.blocks:
            x = b(x)
        x = x.float()
        return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt()


class Dbot(torch_mae.MAE):
    def __init__(self, image, patch, width, depth, heads, dec, taps, batch):
        super().__init__(image, patch, width, depth, heads, dec, taps, batch)
        self.decoders = nn.ModuleList([torch_mae.Decoder(dec, width, self.side, width)])
        self.teacher = Teacher(patch, width, depth, heads, self.side).requires_grad_(False)

    def forward(self, im, noise):
        n, total = noise.shape
        keep = total // 4
        shuffle = noise.argsort(1)
        restore = shuffle.argsort(1)
        mask = torch.ones_like(noise)
        mask[:, :keep] = 0
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask.gather(1, restore)], 1)
        with torch.no_grad():
            target = self.teacher(im)
        x = self.embed(im).flatten(2).transpose(1, 2) + self.pos[:, 1:]
        x = x.gather(1, shuffle[:, :keep, None].expand(-1, -1, x.shape[2]))
        x = torch.cat([(self.cls + self.pos[:, :1]).expand(n, -1, -1).to(x.dtype), x], 1)
        for b in self.blocks:
            x = b(x)
        d = self.decoders[0]
        x = d.embed(self.norm(x))
        tokens = torch.cat([x[:, 1:], d.mask_token.expand(n, total + 1 - x.shape[1], -1).to(x.dtype)], 1)
        tokens = torch.gather(tokens, 1, restore[..., None].expand(-1, -1, x.shape[2]))
        x = torch.cat([x[:, :1], tokens], 1) + d.pos
        for b in d.blocks:
            x = b(x)
        e = F.smooth_l1_loss(d.pred(d.norm(x)).float(), target, beta=2.0, reduction="none").mean(-1)
        return (e * mask).sum() / mask.sum()


class BiasedBlock(nn.Module):
    """A block with an additive bias of the attention, layer scale, and no bias of keys."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.ls1, self.ls2 = nn.Parameter(torch.full((width,), 0.1)), nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x, bias):
        n, t, d = x.shape
        b = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = F.linear(self.norm1(x), self.qkv.weight, b).reshape(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        a = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype)).transpose(1, 2).reshape(n, t, d)
        x = x + self.ls1 * self.proj(a)
        return x + self.ls2 * self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Simmim(nn.Module):
    def __init__(self, image, patch, width, depth, heads, dec, taps, batch):
        super().__init__()
        self.patch, self.side = patch, image // patch
        self.embed = nn.Conv2d(3, width, patch, patch)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.blocks = nn.ModuleList([BiasedBlock(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, 3 * patch * patch)
        s = self.side
        self.table = nn.Parameter(torch.zeros((2 * s - 1) ** 2 + 3, heads))
        y, x = torch.meshgrid(torch.arange(s), torch.arange(s), indexing="ij")
        y, x = y.flatten(), x.flatten()
        index = torch.empty(s * s + 1, s * s + 1, dtype=torch.long)
        index[1:, 1:] = (y[:, None] - y[None] + s - 1) * (2 * s - 1) + x[:, None] - x[None] + s - 1
        rows = len(self.table)
        index[0, 1:], index[1:, 0], index[0, 0] = rows - 3, rows - 2, rows - 1
        self.register_buffer("index", index)

    def forward(self, im, noise):
        n, s, p = len(im), self.side, self.patch
        units = noise.reshape(n, s, s)[:, ::2, ::2].flatten(1)  # 7 x 7 units of 2 x 2 patches, 30 hidden
        mask = torch.zeros_like(units).scatter_(1, units.argsort(1)[:, :30], 1.0).reshape(n, s // 2, s // 2)
        mask = mask.repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)[..., None]
        x = self.embed(im).flatten(2).transpose(1, 2)
        x = x * (1 - mask).to(x.dtype) + self.mask_token.to(x.dtype) * mask.to(x.dtype)
        x = torch.cat([self.cls.expand(n, -1, -1).to(x.dtype), x], 1)
        bias = self.table[self.index].permute(2, 0, 1)[None]
        for b in self.blocks:
            x = b(x, bias)
        pred = self.head(self.norm(x)[:, 1:]).float()
        target = im.reshape(n, 3, s, p, s, p).permute(0, 2, 4, 1, 3, 5).reshape(n, s * s, -1)
        return ((pred - target).abs().mean(-1) * mask[..., 0]).sum() / mask.sum()


SIZE = dict(image=224, patch=16, width=384, depth=12, heads=6, dec=(256, 4, 8), taps=(12,), batch=32)
MODELS = {"dbot_s": Dbot, "simmim_s": Simmim}

"""BEiT with UPerNet by its published description: logits of a segmentation file's tensors, in fp64
and as plain as can be. It shares nothing with `model`."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LAYERS = (0, 1, 1, 3)  # of 4 blocks, as 3, 5, 7 and 11 of 12
POOL_SCALES = (1, 2, 3, 6)


class Reference:
    """A network of four blocks with two heads of attention, for patches of 8 pixels."""

    heads, patch = 2, 8

    def __init__(self, tensors: dict[str, Tensor]):
        self.t = {name: t.double() for name, t in tensors.items() if t.is_floating_point()}

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.t[f"{name}.weight"].T + self.t[f"{name}.bias"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.t[f"{name}.weight"], self.t[f"{name}.bias"]
        return F.layer_norm(x, x.shape[-1:], weight, bias, 1e-6)

    def block(self, x: Tensor, name: str, grid: int) -> Tensor:
        """[tokens, dim] of one image."""
        y = self.norm(x, f"{name}.norm1") @ self.t[f"{name}.attn.qkv.weight"].T
        q, k, v = y.chunk(3, dim=1)
        q, v = q + self.t[f"{name}.attn.q_bias"], v + self.t[f"{name}.attn.v_bias"]
        size, out = x.shape[1] // self.heads, []
        for head in range(self.heads):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] @ k[:, part].T / math.sqrt(size) + self.bias(name, head, grid)
            out.append(scores.softmax(1) @ v[:, part])
        attended = self.linear(torch.cat(out, 1), f"{name}.attn.proj")
        x = x + self.t[f"{name}.gamma_1"] * attended
        hidden = F.gelu(self.linear(self.norm(x, f"{name}.norm2"), f"{name}.mlp.fc1"))
        return x + self.t[f"{name}.gamma_2"] * self.linear(hidden, f"{name}.mlp.fc2")

    def bias(self, name: str, head: int, grid: int) -> Tensor:
        """Of each query and key: by their offset in rows and columns, [CLS] by the last rows."""
        table = self.t[f"{name}.attn.relative_position_bias_table"][:, head]
        bias = table.new_empty(1 + grid**2, 1 + grid**2)
        bias[0, :], bias[:, 0], bias[0, 0] = table[-3], table[-2], table[-1]
        for query in range(grid**2):
            for key in range(grid**2):
                rows = query // grid - key // grid + grid - 1
                columns = query % grid - key % grid + grid - 1
                bias[1 + query, 1 + key] = table[rows * (2 * grid - 1) + columns]
        return bias

    def maps(self, image: Tensor) -> list[Tensor]:
        """An image [3, side, side], normalized, to four maps [1, dim, grid, grid]."""
        grid = image.shape[1] // self.patch
        weight = self.t["backbone.patch_embed.proj.weight"]
        bias = self.t["backbone.patch_embed.proj.bias"]
        patches = F.conv2d(image[None].double(), weight, bias, stride=self.patch)
        x = torch.cat([self.t["backbone.cls_token"][0], patches[0].flatten(1).T])
        outputs = []
        for layer in range(4):
            x = self.block(x, f"backbone.blocks.{layer}", grid)
            outputs.append(x[1:].T.reshape(1, -1, grid, grid))
        return [outputs[layer] for layer in LAYERS]

    def batch_norm(self, x: Tensor, name: str) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        mean, variance, weight, bias = (self.t[f"{name}.{p}"][:, None, None] for p in parts)
        return (x - mean) / (variance + 1e-5).sqrt() * weight + bias

    def doubled(self, x: Tensor, name: str) -> Tensor:
        weight, bias = self.t[f"{name}.weight"], self.t[f"{name}.bias"]
        return F.conv_transpose2d(x, weight, bias, stride=2)

    def conv(self, x: Tensor, name: str) -> Tensor:
        weight = self.t[f"{name}.conv.weight"]
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return self.batch_norm(x, f"{name}.bn").relu()

    def classify(self, x: Tensor, name: str) -> Tensor:
        return F.conv2d(x, self.t[f"{name}.conv_seg.weight"], self.t[f"{name}.conv_seg.bias"])

    def pyramid(self, image: Tensor) -> list[Tensor]:
        first, second, third, fourth = self.maps(image)
        first = self.batch_norm(self.doubled(first, "backbone.fpn1.0"), "backbone.fpn1.1")
        first = self.doubled(F.gelu(first), "backbone.fpn1.3")
        return [first, self.doubled(second, "backbone.fpn2.0"), third, F.max_pool2d(fourth, 2)]

    def logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Of an image [3, side, side], normalized by ImageNet's statistics: the decode head's at
        the image's size, [classes, side, side], and the auxiliary head's at the patches'."""
        levels = self.pyramid(image)
        head, last = "decode_head", levels[-1]
        pooled = [last]
        for index, scale in enumerate(POOL_SCALES):
            small = self.conv(F.adaptive_avg_pool2d(last, scale), f"{head}.psp_modules.{index}.1")
            pooled.append(enlarged(small, last.shape[2:]))
        laterals = [self.conv(levels[i], f"{head}.lateral_convs.{i}") for i in range(3)]
        laterals.append(self.conv(torch.cat(pooled, 1), f"{head}.bottleneck"))
        for i in (2, 1, 0):
            laterals[i] = laterals[i] + enlarged(laterals[i + 1], laterals[i].shape[2:])
        outputs = [self.conv(laterals[i], f"{head}.fpn_convs.{i}") for i in range(3)]
        outputs.append(laterals[3])
        joined = torch.cat([enlarged(output, outputs[0].shape[2:]) for output in outputs], 1)
        decoded = self.classify(self.conv(joined, f"{head}.fpn_bottleneck"), head)
        auxiliary = self.conv(levels[2], "auxiliary_head.convs.0")
        return (
            enlarged(decoded, image.shape[1:])[0],
            self.classify(auxiliary, "auxiliary_head")[0],
        )


def enlarged(x: Tensor, size) -> Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)

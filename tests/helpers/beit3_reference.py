"""BEiT-3 by its published description: names and shapes of the tensors of its released files, and
what a network with these tensors gives, image tokens first. It shares nothing with `model`."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

EPS = 1e-5
MASKED = float("-inf")


@dataclass(frozen=True)
class Size:
    """Of a file; those of the base size but for the image's are the defaults."""

    image_size: int
    patch_size: int = 16
    depth: int = 12
    embed_dim: int = 768
    num_heads: int = 12
    mlp_dim: int = 3072
    words: int = 64_010
    answers: int = 3129
    classes: int = 1000
    visual_tokens: int = 8192

    @property
    def patches(self) -> int:
        return (self.image_size // self.patch_size) ** 2


BASE_IMAGE_SIZES = {
    "pretrained": 224,
    "indomain": 224,
    "itc": 224,
    "vqa": 480,
    "nlvr2": 224,
    "coco": 384,
    "flickr30k": 384,
    "imagenet1k": 224,
}


def shapes(kind: str, size: Size) -> dict[str, tuple[int, ...]]:
    """The tensors of a file for `kind`, without heads of the pretraining."""
    dim = size.embed_dim
    names = {
        "beit3.vision_embed.proj.weight": (dim, 3, size.patch_size, size.patch_size),
        "beit3.vision_embed.proj.bias": (dim,),
        "beit3.vision_embed.cls_token": (1, 1, dim),
        "beit3.vision_embed.mask_token": (1, 1, dim),
        "beit3.text_embed.weight": (size.words, dim),
        "beit3.encoder.embed_positions.A.weight": (3 + size.patches, dim),
        "beit3.encoder.embed_positions.B.weight": (1024, dim),
    }
    for layer in range(size.depth):
        for half in "AB":
            names |= layer_shapes(f"beit3.encoder.layers.{layer}", half, size)
    if kind not in ("vqa", "imagenet1k"):
        for half in "AB":
            names |= pair(f"beit3.encoder.layer_norm.{half}", dim)
    return names | head_shapes(kind, size)


def layer_shapes(layer: str, half: str, size: Size) -> dict[str, tuple[int, ...]]:
    dim, hidden = size.embed_dim, size.mlp_dim
    names = {}
    for norm in ("self_attn_layer_norm", "self_attn.inner_attn_ln", "final_layer_norm"):
        names |= pair(f"{layer}.{norm}.{half}", dim)
    for matrix in ("q_proj", "k_proj", "v_proj", "out_proj"):
        names |= pair(f"{layer}.self_attn.{matrix}.{half}", dim, dim)
    names |= pair(f"{layer}.ffn.{half}.fc1", hidden, dim)
    names |= pair(f"{layer}.ffn.{half}.ffn_layernorm", hidden)
    return names | pair(f"{layer}.ffn.{half}.fc2", dim, hidden)


def head_shapes(kind: str, size: Size) -> dict[str, tuple[int, ...]]:
    dim = size.embed_dim
    if kind in ("itc", "coco", "flickr30k"):
        heads = {"language_head.weight": (dim, dim), "vision_head.weight": (dim, dim)}
        return heads | {"logit_scale": ()}
    if kind == "vqa":
        first = pair("pooler.norm", dim) | pair("pooler.dense", dim, dim)
        second = pair("head.0", 2 * dim, dim) | pair("head.1", 2 * dim)
        return first | second | pair("head.3", size.answers, 2 * dim)
    if kind == "nlvr2":
        first = pair("head.norm1", 4 * dim) | pair("head.dense1", 2 * dim, 4 * dim)
        return first | pair("head.norm2", 2 * dim) | pair("head.dense2", 2, 2 * dim)
    if kind == "imagenet1k":
        return pair("fc_norm", dim) | pair("head", size.classes, dim)
    return {}


def pretraining_head_shapes(size: Size) -> dict[str, tuple[int, ...]]:
    heads = pair("mlm_head", size.words, size.embed_dim)
    return heads | pair("mim_head", size.visual_tokens, size.embed_dim)


def images_alone(names: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Without what images do not need."""
    texts = ("beit3.text_embed.", "beit3.encoder.embed_positions.B.")
    return {n: shape for n, shape in names.items() if ".B." not in n and not n.startswith(texts)}


def pair(name: str, *weight: int) -> dict[str, tuple[int, ...]]:
    """A weight of this shape, and a bias for its rows."""
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def seeded(names: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    """Numbers of which every one matters: norms near one, matrices that keep lengths."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in names.items():
        noise = torch.randn(shape, generator=generator)
        is_norm = len(shape) == 1 and name.endswith("weight")
        scale = 0.3 if len(shape) < 2 else 1 / math.sqrt(math.prod(shape[1:]))
        tensors[name] = 1 + 0.3 * noise if is_norm else scale * noise
    return tensors


class Reference:
    """A network with a file's tensors, in double precision."""

    def __init__(self, tensors: dict[str, Tensor], size: Size):
        self.size = size
        self.t = {name: tensor.double() for name, tensor in tensors.items()}

    def linear(self, x: Tensor, name: str) -> Tensor:
        return x @ self.t[f"{name}.weight"].T + self.t[f"{name}.bias"]

    def norm(self, x: Tensor, name: str) -> Tensor:
        centered = x - x.mean(-1, keepdim=True)
        unit = centered / (centered.square().mean(-1, keepdim=True) + EPS).sqrt()
        return unit * self.t[f"{name}.weight"] + self.t[f"{name}.bias"]

    def embed_image(self, image: Tensor) -> Tensor:
        """[n, 3, size, size] to [n, 1 + patches, dim]; token j has row j + 2 of the positions."""
        p, weight = self.size.patch_size, self.t["beit3.vision_embed.proj.weight"]
        n, side = len(image), self.size.image_size // p
        patches = image.double().view(n, 3, side, p, side, p).permute(0, 2, 4, 1, 3, 5)
        x = patches.reshape(n, side * side, -1) @ weight.flatten(1).T
        x = x + self.t["beit3.vision_embed.proj.bias"]
        x = torch.cat([self.t["beit3.vision_embed.cls_token"].expand(n, 1, -1), x], dim=1)
        rows = self.t["beit3.encoder.embed_positions.A.weight"]
        return x + rows[2 : 2 + x.shape[1]]

    def embed_text(self, ids: Tensor) -> Tensor:
        rows = self.t["beit3.encoder.embed_positions.B.weight"]
        return self.t["beit3.text_embed.weight"][ids] + rows[2 : 2 + ids.shape[1]]

    def encode(
        self, image: Tensor | None = None, ids: Tensor | None = None, tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Vectors of images and of texts; `tokens` is True for tokens that are no padding."""
        parts = []  # by half, in the order of the sequence
        if image is not None:
            parts.append(("A", self.embed_image(image)))
        if ids is not None:
            parts.append(("B", self.embed_text(ids)))
        keys = [torch.ones(x.shape[:2], dtype=torch.bool) for _, x in parts]
        if tokens is not None:
            keys[-1] = tokens
        for layer in range(self.size.depth):
            parts = self.block(parts, torch.cat(keys, dim=1), f"beit3.encoder.layers.{layer}")
        if "beit3.encoder.layer_norm.A.weight" in self.t:
            parts = [(h, self.norm(x, f"beit3.encoder.layer_norm.{h}")) for h, x in parts]
        vectors = dict(parts)
        nothing = torch.empty(0)
        return vectors.get("A", nothing), vectors.get("B", nothing)

    def block(self, parts, keys: Tensor, layer: str):
        heads = {}
        for letter in "qkv":
            projected = []
            for half, x in parts:
                normed = self.norm(x, f"{layer}.self_attn_layer_norm.{half}")
                projected.append(self.linear(normed, f"{layer}.self_attn.{letter}_proj.{half}"))
            heads[letter] = torch.cat(projected, 1).unflatten(2, (self.size.num_heads, -1))
        q, k = heads["q"] / math.sqrt(heads["q"].shape[-1]), heads["k"]
        scores = torch.einsum("nqhd,nkhd->nhqk", q, k).masked_fill(~keys[:, None, None], MASKED)
        attended = torch.einsum("nhqk,nkhd->nqhd", scores.softmax(-1), heads["v"]).flatten(2)
        after, start = [], 0
        for half, x in parts:
            part = attended[:, start : start + x.shape[1]]
            start += x.shape[1]
            part = self.norm(part, f"{layer}.self_attn.inner_attn_ln.{half}")
            x = x + self.linear(part, f"{layer}.self_attn.out_proj.{half}")
            hidden = self.norm(x, f"{layer}.final_layer_norm.{half}")
            hidden = F.gelu(self.linear(hidden, f"{layer}.ffn.{half}.fc1"))
            hidden = self.norm(hidden, f"{layer}.ffn.{half}.ffn_layernorm")
            after.append((half, x + self.linear(hidden, f"{layer}.ffn.{half}.fc2")))
        return after

    def vqa(self, image: Tensor, ids: Tensor, tokens: Tensor) -> Tensor:
        vectors, _ = self.encode(image, ids, tokens)
        pooled = self.linear(self.norm(vectors[:, 0], "pooler.norm"), "pooler.dense").tanh()
        hidden = F.gelu(self.norm(self.linear(pooled, "head.0"), "head.1"))
        return self.linear(hidden, "head.3")

    def nlvr2(self, images: Tensor, ids: Tensor, tokens: Tensor) -> Tensor:
        read = []
        for side in (0, 1):
            image, text = self.encode(images[:, side], ids, tokens)
            read += [image[:, 0], text[:, 0]]
        hidden = self.linear(self.norm(torch.cat(read, 1), "head.norm1"), "head.dense1")
        return self.linear(F.gelu(self.norm(hidden, "head.norm2")), "head.dense2")

    def image_vectors(self, image: Tensor) -> Tensor:
        vectors, _ = self.encode(image)
        return F.normalize(vectors[:, 0] @ self.t["vision_head.weight"].T, dim=-1)

    def text_vectors(self, ids: Tensor, tokens: Tensor) -> Tensor:
        _, vectors = self.encode(ids=ids, tokens=tokens)
        return F.normalize(vectors[:, 0] @ self.t["language_head.weight"].T, dim=-1)

    def classes(self, image: Tensor) -> Tensor:
        """Of images normalized by ImageNet's statistics."""
        vectors, _ = self.encode(image)
        return self.linear(self.norm(vectors[:, 1:].mean(1), "fc_norm"), "head")

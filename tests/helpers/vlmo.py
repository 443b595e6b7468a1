"""VLMo by itself: files in the layout of the released ones with seeded weights, and its forward pass
on them, in fp64 and as plain as can be, with nothing of this project's."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

TEXT_TABLE, OFFSETS = 397, 389
INDICES = ("relative_position_index", "text_relative_position_index")


class Sizes(NamedTuple):
    grid: int = 4
    patch: int = 4
    depth: int = 4
    width: int = 16
    heads: int = 2
    hidden: int = 32
    words: int = 40
    first_pair_block: int = 2


def shapes(task: str, sizes: Sizes, answers: int = 3129) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors but index tables."""
    d, grid = sizes.width, sizes.grid
    result: dict[str, tuple[int, ...]] = {
        "transformer.cls_token": (1, 1, d),
        **weight_and_bias("transformer.patch_embed.proj", d, 3, sizes.patch, sizes.patch),
        **norm("transformer.norm", d),
    }
    for index in range(sizes.depth):
        result |= block(f"transformer.blocks.{index}", sizes, index >= sizes.first_pair_block)
    text = "text_embeddings"
    result |= {
        f"{text}.word_embeddings.weight": (sizes.words, d),
        f"{text}.position_embeddings.weight": (40, d),
        f"{text}.token_type_embeddings.weight": (2, d),
        **norm(f"{text}.LayerNorm", d),
        "token_type_embeddings.weight": (3 if task == "nlvr2" else 2, d),
        "relative_position_bias_table": (
            (2 * grid - 1) ** 2 + TEXT_TABLE,
            sizes.depth * sizes.heads,
        ),
        **weight_and_bias("pooler.dense", d, d),
    }
    if task == "vqa":
        return result | classifier("vqa_classifier", d, 2 * d, answers)
    if task == "nlvr2":
        return result | classifier("nlvr2_classifier", 2 * d, 2 * d, 2)
    itc = {"itc_text_proj.fc.weight": (d, d), "itc_image_proj.fc.weight": (d, d), "logit_scale": ()}
    return result | itc | (pretraining_heads(sizes) if task == "pretrained" else {})


def block(name: str, sizes: Sizes, pairs: bool) -> dict[str, tuple[int, ...]]:
    d, hidden = sizes.width, sizes.hidden
    result = {
        **norm(f"{name}.norm1", d),
        f"{name}.attn.qkv.weight": (3 * d, d),
        f"{name}.attn.q_bias": (d,),
        f"{name}.attn.v_bias": (d,),
        **weight_and_bias(f"{name}.attn.proj", d, d),
        f"{name}.gamma_1": (d,),
        f"{name}.gamma_2": (d,),
    }
    for expert in ("text", "imag", *(("vl",) if pairs else ())):
        result |= norm(f"{name}.norm2_{expert}", d)
        result |= weight_and_bias(f"{name}.mlp_{expert}.fc1", hidden, d)
        result |= weight_and_bias(f"{name}.mlp_{expert}.fc2", d, hidden)
    return result


def pretraining_heads(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    d, words = sizes.width, sizes.words
    return {
        **weight_and_bias("itm_score.fc", 2, d),
        **weight_and_bias("mlm_score.transform.dense", d, d),
        **norm("mlm_score.transform.LayerNorm", d),
        "mlm_score.decoder.weight": (words, d),
        "mlm_score.bias": (words,),
        "itc_vl_text_proj.fc.weight": (d, d),
        "itc_vl_image_proj.fc.weight": (d, d),
        "logit_vl_scale": (),
    }


def weight_and_bias(name: str, *shape: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return weight_and_bias(name, width)


def classifier(name: str, width: int, hidden: int, classes: int) -> dict[str, tuple[int, ...]]:
    return (
        weight_and_bias(f"{name}.0", hidden, width)
        | norm(f"{name}.1", hidden)
        | weight_and_bias(f"{name}.3", classes, hidden)
    )


def tensors(task: str, sizes: Sizes, answers: int = 3129) -> dict[str, Tensor]:
    """Seeded weights of such size that every one of them matters."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator) * 0.3 + 0.1 * ("norm" in name.lower())
        for name, shape in shapes(task, sizes, answers).items()
    }


def row(grid: int, query: tuple[str, int], key: tuple[str, int]) -> int:
    """The row of the bias table for a query and a key, each ("text" or "image", place); place 0 is
    [CLS]."""
    n = (2 * grid - 1) ** 2 + 3
    (query_kind, i), (key_kind, j) = query, key
    if query_kind != key_kind:
        return n if query_kind == "text" else n + 1
    first = n + 2 + OFFSETS if query_kind == "text" else n - 3
    if i == 0 and j == 0:
        return first + 2
    if i == 0 or j == 0:
        return first if i == 0 else first + 1
    if query_kind == "text":
        return n + 2 + 194 + (j - i)
    (yq, xq), (yk, xk) = divmod(i - 1, grid), divmod(j - 1, grid)
    return (yq - yk + grid - 1) * (2 * grid - 1) + (xq - xk + grid - 1)


def rows(grid: int, text: int, image: bool) -> Tensor:
    """All of them, of `text` tokens before an image: int64 [length, length]."""
    places = [("text", i) for i in range(text)]
    places += [("image", j) for j in range(1 + grid * grid)] if image else []
    return torch.tensor([[row(grid, query, key) for key in places] for query in places])


class VLMo:
    """The network on one sample at a time."""

    def __init__(self, weights: dict[str, Tensor], sizes: Sizes):
        self.w, self.sizes = {name: tensor.double() for name, tensor in weights.items()}, sizes

    def text(self, ids: list[int]) -> Tensor:
        """Vectors [length, width] after the last norm."""
        return self.encode(self.embed_text(ids), "text", len(ids), False)

    def image(self, pixels: Tensor) -> Tensor:
        """Pixels [3, size, size], vectors [1 + patches, width]."""
        return self.encode(self.embed_image(pixels, 1), "imag", 0, True)

    def pair(self, ids: list[int], pixels: Tensor, token_type: int = 1) -> Tensor:
        """Vectors of the text, then those of the image."""
        x = torch.cat([self.embed_text(ids), self.embed_image(pixels, token_type)])
        return self.encode(x, "pair", len(ids), True)

    def pooled(self, ids: list[int], pixels: Tensor, token_type: int = 1) -> Tensor:
        cls = self.pair(ids, pixels, token_type)[0]
        return torch.tanh(self.linear("pooler.dense", cls))

    def unit(self, projection: str, cls: Tensor) -> Tensor:
        vector = self.w[f"{projection}.fc.weight"] @ cls
        return vector / vector.norm()

    def classify(self, name: str, x: Tensor) -> Tensor:
        x = self.norm(f"{name}.1", self.linear(f"{name}.0", x), 1e-5)
        return self.linear(f"{name}.3", gelu(x))

    def embed_text(self, ids: list[int]) -> Tensor:
        words = self.w["text_embeddings.word_embeddings.weight"][ids]
        x = words + self.w["text_embeddings.token_type_embeddings.weight"][0]
        x = self.norm("text_embeddings.LayerNorm", x, 1e-12)
        return x + self.w["token_type_embeddings.weight"][0]

    def embed_image(self, pixels: Tensor, token_type: int) -> Tensor:
        name, size = "transformer.patch_embed.proj", self.sizes.patch
        kernel, vectors = self.w[f"{name}.weight"], [self.w["transformer.cls_token"][0, 0]]
        for y in range(0, pixels.shape[1], size):
            for x in range(0, pixels.shape[2], size):
                patch = pixels[:, y : y + size, x : x + size].double()
                vectors.append((kernel * patch).sum(dim=(1, 2, 3)) + self.w[f"{name}.bias"])
        return torch.stack(vectors) + self.w["token_type_embeddings.weight"][token_type]

    def encode(self, x: Tensor, kind: str, text: int, image: bool) -> Tensor:
        index = rows(self.sizes.grid, text, image)
        for layer in range(self.sizes.depth):
            name, heads = f"transformer.blocks.{layer}", self.sizes.heads
            table = self.w["relative_position_bias_table"][:, heads * layer : heads * (layer + 1)]
            attended = self.attention(name, self.norm(f"{name}.norm1", x), table[index])
            x = x + self.w[f"{name}.gamma_1"] * attended
            x = x + self.w[f"{name}.gamma_2"] * self.experts(name, layer, x, kind, text)
        return self.norm("transformer.norm", x)

    def attention(self, name: str, x: Tensor, bias: Tensor) -> Tensor:
        """bias: [queries, keys, heads]."""
        d = self.sizes.width
        weight, outputs = self.w[f"{name}.attn.qkv.weight"], []
        q = x @ weight[:d].T + self.w[f"{name}.attn.q_bias"]
        k = x @ weight[d : 2 * d].T
        v = x @ weight[2 * d :].T + self.w[f"{name}.attn.v_bias"]
        size = d // self.sizes.heads
        for head in range(self.sizes.heads):
            part = slice(head * size, (head + 1) * size)
            scores = q[:, part] / math.sqrt(size) @ k[:, part].T + bias[:, :, head]
            outputs.append(scores.softmax(dim=1) @ v[:, part])
        return self.linear(f"{name}.attn.proj", torch.cat(outputs, dim=1))

    def experts(self, name: str, layer: int, x: Tensor, kind: str, text: int) -> Tensor:
        if kind != "pair":
            return self.expert(name, kind, x)
        if layer >= self.sizes.first_pair_block:
            return self.expert(name, "vl", x)
        return torch.cat([self.expert(name, "text", x[:text]), self.expert(name, "imag", x[text:])])

    def expert(self, name: str, kind: str, x: Tensor) -> Tensor:
        x = gelu(self.linear(f"{name}.mlp_{kind}.fc1", self.norm(f"{name}.norm2_{kind}", x)))
        return self.linear(f"{name}.mlp_{kind}.fc2", x)

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: Tensor, eps: float = 1e-6) -> Tensor:
        x = x - x.mean(dim=-1, keepdim=True)
        x = x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt()
        return x * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))

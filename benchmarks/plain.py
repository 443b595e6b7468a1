"""The pretraining step as one writes it first: a pass for each stream, dense masks, logits of all
positions, every expert on its own slice. What `benchmarks.training_step` is to be faster than; same
sizes, same losses."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.pretraining.batches import ImageBatch, PretrainingBatch, TextBatch


class Block(nn.Module):
    """Shared attention, then one expert for text and one for patches."""

    def __init__(self, config: BackboneConfig):
        super().__init__()
        embed_dim = config.embed_dim
        self.num_heads = config.num_heads
        self.norm1 = nn.LayerNorm(embed_dim)
        self.qkv = nn.Linear(embed_dim, 3 * embed_dim)
        self.proj = nn.Linear(embed_dim, embed_dim)
        self.experts = nn.ModuleDict()
        for name in ("text", "image"):
            self.experts[name] = nn.Sequential(
                nn.LayerNorm(embed_dim),
                nn.Linear(embed_dim, config.mlp_dim),
                nn.GELU(),
                nn.Linear(config.mlp_dim, embed_dim),
            )

    def forward(self, x: Tensor, text: int, mask: Tensor, scale: Tensor) -> Tensor:
        """x [batch, length, embed_dim], the first `text` of which are tokens; mask bool [batch, 1,
        length, length]; scale [3, batch, 1, 1], what stochastic depth multiplies the residual
        branches by."""
        q, k, v = (
            self.qkv(self.norm1(x)).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        )
        attended = F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)
        x = x + drop(self.proj(attended), scale[0])
        tokens, patches = x[:, :text], x[:, text:]
        tokens = tokens + drop(self.experts["text"](tokens), scale[1])
        patches = patches + drop(self.experts["image"](patches), scale[2])
        return torch.cat([tokens, patches], dim=1)


class Plain(nn.Module):
    """Backbone and heads."""

    def __init__(self, config: BackboneConfig, codebook_size: int):
        super().__init__()
        embed_dim = config.embed_dim
        self.words = nn.Embedding(config.vocab_size, embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(embed_dim))
        self.text_positions = nn.Parameter(torch.zeros(config.text_length, embed_dim))
        self.patches = nn.Conv2d(3, embed_dim, config.patch_size, config.patch_size)
        self.cls = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.image_positions = nn.Parameter(torch.zeros(1 + config.patches, embed_dim))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(embed_dim)
        self.rates = torch.linspace(0, config.drop_path, config.depth).tolist()
        self.text_head = nn.Linear(embed_dim, config.vocab_size)
        self.image_head = nn.Linear(embed_dim, codebook_size)

    def forward(self, batch: PretrainingBatch) -> dict[str, Tensor]:
        """Sums of the losses of all three streams."""
        texts, images, pairs = batch
        assert texts is not None and images is not None and pairs is not None
        mlm, _ = self.encode(texts, None, texts.drop_path_noise)
        _, mim = self.encode(None, images, images.drop_path_noise)
        mvlm_text, mvlm_image = self.encode(pairs.text, pairs.image, pairs.drop_path_noise)
        return {
            "mlm": loss(self.text_head(mlm), texts),
            "mim": loss(self.image_head(mim), images),
            "mvlm_text": loss(self.text_head(mvlm_text), pairs.text),
            "mvlm_image": loss(self.image_head(mvlm_image), pairs.image),
        }

    def encode(
        self, text: TextBatch | None, image: ImageBatch | None, noise: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Vectors of tokens and of patches, without [I_CLS]; noise [batch, depth, 3] in [0, 1)."""
        parts, keys, length = [], [], 0
        if text is not None:
            length = text.ids.shape[1]
            parts.append(self.words(text.ids) + self.text_positions[:length])
            keys.append(
                torch.ones_like(text.ids, dtype=torch.bool) if text.mask is None else text.mask
            )
        if image is not None:
            patches = self.patches(image.pixels).flatten(2).transpose(1, 2)
            patches = torch.where(
                image.masked[..., None], self.mask_token.to(patches.dtype), patches
            )
            patches = torch.cat([self.cls.expand(len(patches), -1, -1), patches], dim=1)
            parts.append(patches + self.image_positions)
            keys.append(torch.ones(parts[-1].shape[:2], dtype=torch.bool, device=patches.device))
        assert noise is not None
        x, key = torch.cat(parts, dim=1), torch.cat(keys, dim=1)
        mask = key[:, None, None, :].expand(-1, 1, x.shape[1], -1).contiguous()
        for block, rate, drawn in zip(self.blocks, self.rates, noise.unbind(1), strict=True):
            x = block(x, length, mask, (drawn >= rate).T[..., None, None] / (1 - rate))
        x = self.norm(x)
        return x[:, :length], x[:, length + 1 :]


def drop(branch: Tensor, scale: Tensor) -> Tensor:
    """Stochastic depth: a residual branch [batch, length, embed_dim] times factors [batch, 1, 1],
    in the branch's precision."""
    return branch * scale.to(branch.dtype)


def loss(logits: Tensor, batch: TextBatch | ImageBatch) -> Tensor:
    """Cross-entropy of logits [batch, positions, classes] at the masked positions."""
    assert batch.targets is not None
    targets = torch.full((logits.shape[0] * logits.shape[1],), -100, device=logits.device)
    targets[batch.masked_positions] = batch.targets
    return F.cross_entropy(
        logits.flatten(0, 1).float(), targets, ignore_index=-100, reduction="sum"
    )

"""VL-BEiT's backbone: one bidirectional multimodal Transformer (VL-BEiT §2.1, §2.2).

The same weights are an image encoder, a text encoder and, on both at once, a fusion encoder:

    image            [I_CLS] v1 ... vP                        V-FFN
    text             [T_CLS] w1 ... wM [T_SEP]                L-FFN
    pair             text, then image, attending to each other

Notable: positions are learned and absolute; a masked patch is replaced before its position is added, and [I_CLS] is
never masked. Token types, relative biases, layer scale and an expert for pairs are options of the configuration, off by
default.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.config import PAD_ID, BackboneConfig
from model.init import init_module, rescale_by_depth, truncated_normal_
from model.io import Pretrained
from model.layers import layer_norm
from model.mome import MoMEBlock
from model.positions import resize_image_positions
from model.relative_bias import RelativeBias, resize_image_table


@dataclass(frozen=True)
class Encoded:
    """Final-norm vectors. A stream that was not given is None."""

    text: Tensor | None  # [batch, text length, width], [T_CLS] first
    image: Tensor | None  # [batch, 1 + patches, width], [I_CLS] first


class VLBeit(Pretrained, nn.Module):
    """The multimodal Transformer; without `text`, its image encoder alone, which has nothing that only texts, pairs and
    masks use."""

    Config: ClassVar = BackboneConfig

    def __init__(self, config: BackboneConfig, *, text: bool = True):
        super().__init__()
        self.config = config
        width = config.width
        self.patch_embed = nn.Conv2d(3, width, config.patch_size, stride=config.patch_size)
        self.image_cls = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width))
        self.image_positions = nn.Parameter(torch.zeros(1, 1 + config.patches, width))
        self.word_embed = nn.Embedding(config.vocab_size, width)
        self.text_positions = nn.Parameter(torch.zeros(1, config.text_length, width))
        self.blocks = nn.ModuleList(
            MoMEBlock(width, config.heads, config.ffn_width, experts=config.experts,
                      drop_rate=config.drop_path * layer / max(config.depth - 1, 1), layer_scale=config.layer_scale,
                      pair_expert=config.vl_ffn_start_layer is not None and layer >= config.vl_ffn_start_layer)
            for layer in range(config.depth)
        )
        self.norm = layer_norm(width)
        self.token_types = nn.Parameter(torch.zeros(2, width)) if config.token_types else None  # text, picture
        self.relative_bias = (RelativeBias(config.heads, config.grid, config.text_length)
                              if config.relative_bias else None)
        self.grad_checkpointing = False
        if not text:
            self._drop_text()
        self.init_weights()

    def init_weights(self) -> None:
        """VL-BEiT §3.1, "as BEiT"."""
        sigma = self.config.init_sigma
        self.apply(partial(init_module, sigma=sigma))
        for parameter in (self.image_cls, self.mask_token, self.image_positions, self.text_positions, self.token_types):
            if parameter is not None:
                truncated_normal_(parameter, sigma)
        if self.word_embed is not None:
            nn.init.zeros_(self.word_embed.weight.data[PAD_ID])  # (BEiT-3); nothing ever attends to it
        for layer, block in enumerate(self.blocks, 1):
            for weight in block.residual_projections():
                rescale_by_depth(weight, layer)

    def embed_image(self, image: Tensor, masked: Tensor | None) -> Tensor:
        """Pictures [batch, 3, size, size] in -1..1 to [batch, 1 + patches, width].

        masked: bool [batch, patches], row-major over the grid; True patches are replaced by the mask token.
        """
        patches = self.patch_embed(image).flatten(2).transpose(1, 2)  # [batch, patches, width]
        if masked is not None:
            patches = torch.where(masked[..., None], self.mask_token.to(patches.dtype), patches)
        x = torch.cat([self.image_cls.expand(len(image), -1, -1), patches], dim=1) + self.image_positions
        return x if self.token_types is None else x + self.token_types[1]

    def embed_text(self, text: Tensor) -> Tensor:
        """Ids [batch, length] to [batch, length, width]."""
        x = self.word_embed(text) + self.text_positions[:, : text.shape[1]]
        return x if self.token_types is None else x + self.token_types[0]

    def forward(
        self,
        image: Tensor | None = None,
        text: Tensor | None = None,
        *,
        text_mask: Tensor | None = None,
        image_masked: Tensor | None = None,
        uniforms: Tensor | None = None,
    ) -> Encoded:
        """Encode pictures, texts or pairs.

        Args:
            image: float [batch, 3, size, size] in -1..1, or None.
            text: int64 [batch, length], padded, or None.
            text_mask: bool [batch, length], True for tokens and False for padding; None where nothing is padded.
            image_masked: bool [batch, patches], True for patches to replace by the mask token.
            uniforms: [batch, depth, 3] numbers in [0, 1) for stochastic depth; None for evaluation.
        """
        streams = []
        if text is not None:
            streams.append(self.embed_text(text))
        if image is not None:
            streams.append(self.embed_image(image, image_masked))
        x = torch.cat(streams, dim=1) if len(streams) == 2 else streams[0]
        text_length = 0 if text is None else text.shape[1]
        mask = self._attention_mask(text_mask, text_length, x.shape[1] - text_length)
        for layer, block in enumerate(self.blocks):
            x = self._through(block, x, text_length, mask, None if uniforms is None else uniforms[:, layer])
        x = self.norm(x)
        return Encoded(text=None if text is None else x[:, :text_length],
                       image=None if image is None else x[:, text_length:])

    def image_features(self, image: Tensor, layers: Sequence[int], uniforms: Tensor | None = None) -> list[Tensor]:
        """What the blocks with these indices (0-based) put out for pictures alone, before the final norm.

        Each is [batch, 1 + patches, width]; arguments as in `forward`.
        """
        x, outputs = self.embed_image(image, None), {}
        mask = self._attention_mask(None, 0, x.shape[1])
        for layer, block in enumerate(self.blocks[: max(layers) + 1]):
            x = self._through(block, x, 0, mask, None if uniforms is None else uniforms[:, layer])
            outputs[layer] = x
        return [outputs[layer] for layer in layers]

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep no activations within a block for the backward pass, but compute them again: less memory, more time."""
        self.grad_checkpointing = enable

    def _through(self, block: MoMEBlock, *inputs: Tensor | int | None) -> Tensor:
        if self.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)  # draws come from outside
        return block(*inputs)

    def _attention_mask(self, text_mask: Tensor | None, text: int, image: int) -> Tensor | None:
        """Which keys may be attended to and, where positions have biases, how much; as blocks take it."""
        mask = None if text_mask is None else _key_mask(text_mask, image)
        if self.relative_bias is None:
            return mask
        bias = self.relative_bias(text, image)[None]
        return bias if mask is None else bias.masked_fill(~mask, float("-inf"))

    def fitted(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor of the same name out of a backbone for pictures of another size; what no picture's size changes
        comes back as it is."""
        if name == "image_positions":
            return resize_image_positions(tensor, self.config.grid)
        return resize_image_table(tensor, self.config.grid) if name == "relative_bias.image_table" else tensor

    def freeze_unreached(self, uses: Collection[str]) -> None:
        """Take out of training what inputs of these kinds (`text`, `image`, `pair`) never reach in the blocks."""
        for block in self.blocks:
            block.freeze_experts(uses)
        if self.relative_bias is not None and "pair" not in uses:
            self.relative_bias.cross_table.requires_grad_(False)

    def freeze_text(self) -> None:
        """For models of pictures alone: take out of training what only texts, masks or the final norm use."""
        self.freeze_unreached({"image"})
        unused = [self.mask_token, self.word_embed.weight, self.text_positions, *self.norm.parameters()]
        unused += [] if self.relative_bias is None else [self.relative_bias.text_table]
        for parameter in unused:
            parameter.requires_grad_(False)

    def _drop_text(self) -> None:
        self.mask_token = self.word_embed = self.text_positions = None
        for block in self.blocks:
            block.drop_text()
        if self.relative_bias is not None:
            self.relative_bias.drop_text()


def _key_mask(text_mask: Tensor, image_length: int) -> Tensor:
    """[batch, text length] to [batch, 1, 1, text + image length]: only text is ever padded."""
    image = text_mask.new_ones(len(text_mask), image_length)
    return torch.cat([text_mask, image], dim=1)[:, None, None, :]

"""VL-BEiT's backbone: one bidirectional multimodal Transformer (VL-BEiT §2.1, §2.2).

The same weights are an image encoder, a text encoder and, on both at once, a fusion encoder:

    image            [I_CLS] v1 ... vP                        V-FFN
    text             [T_CLS] w1 ... wM [T_SEP]                L-FFN
    pair             text, then image, attending to each other

Notable: positions are learned and absolute; a masked patch is replaced before its position is
added, and [I_CLS] is never masked. Several inputs go through in one pass
(`model.backbone.token_layout`). Sizes are read as `x.shape[0]`, since `len(x)` would make the batch of
an exported graph a constant. What relatives have is an option of the configuration, off by
default: token types, relative biases in place of positions, a norm after the words, layer scale, an
expert for pairs, BEiT-3's blocks.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.backbone.config import PAD_ID, BackboneConfig
from model.backbone.init import init_module, rescale_by_depth, truncated_normal_
from model.backbone.layers import drop_path_scale, layer_norm
from model.backbone.mome import MoMEBlock
from model.backbone.multiway import MultiwayBlock
from model.backbone.pos_embed import resize_image_positions
from model.backbone.rel_pos_bias import RelativeBias, resize_image_table
from model.backbone.token_layout import InputShape, ModalityTokens, Selection, TokenLayout
from model.checkpoint import Pretrained

Block = MoMEBlock | MultiwayBlock

WORD_EPS = 1e-12  # of the norm after the words' vectors (BERT, VLMo)
# Of a compiled block, by inputs: texts, images, pairs, of one length or any, all or few of the
# tokens read, to train on or not.
RECOMPILE_LIMIT = 64


@dataclass(frozen=True)
class BackboneInput:
    """A batch of images, of texts or of pairs."""

    image: Tensor | None = None  # float [batch, 3, size, size] in -1..1
    text: Tensor | None = None  # int64 [batch, length], padded
    text_mask: Tensor | None = None  # bool [batch, length], True for tokens; None: no padding
    image_masked: Tensor | None = None  # bool [batch, patches], True: replace by the mask token
    second_image: Tensor | None = None  # bool [batch], True: the second of two images; None: no one
    # [batch, depth, 3] numbers in [0, 1) for stochastic depth; None for evaluation
    drop_path_noise: Tensor | None = None


@dataclass(frozen=True)
class Encoded:
    """Vectors after the final norm. A modality that was not given is None."""

    text: Tensor | None  # [batch, text length, embed_dim], [T_CLS] first
    image: Tensor | None  # [batch, 1 + patches, embed_dim], [I_CLS] first


class VLBeit(Pretrained, nn.Module):
    """The multimodal Transformer; without `text`, its image encoder alone, which has nothing that
    only texts, pairs and masks use."""

    Config: ClassVar = BackboneConfig
    blocks: Sequence[Block]  # an nn.ModuleList

    def __init__(self, config: BackboneConfig, *, text: bool = True):
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.patch_embed = nn.Conv2d(3, dim, config.patch_size, stride=config.patch_size)
        self.image_cls = nn.Parameter(torch.zeros(1, 1, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.image_positions = _positions(config, 1 + config.patches)
        self.word_embed = nn.Embedding(config.vocab_size, dim)
        self.word_norm = nn.LayerNorm(dim, eps=WORD_EPS) if config.word_norm else None
        self.text_positions = _positions(config, config.text_length)
        blocks = nn.ModuleList(_block(config, index) for index in range(config.depth))
        self.blocks = cast(Sequence[Block], blocks)
        self.norm: nn.Module = _final_norm(config)
        # of text tokens, where `norm` is of images alone
        self.text_norm = _final_norm(config) if config.experts == "multiway" else None
        types = torch.zeros(3 if config.second_image_type else 2, dim)  # text, image, second image
        self.token_types = nn.Parameter(types) if config.token_types else None
        shared_bias = config.relative_bias and not config.bias_per_block
        self.relative_bias = _relative_bias(config) if shared_bias else None
        self.grad_checkpointing = False
        if not text:
            self._drop_text()
        self.init_weights()

    def init_weights(self) -> None:
        """VL-BEiT §3.1, "as BEiT"."""
        std = self.config.init_std
        self.apply(partial(init_module, std=std))
        for parameter in (
            self.image_cls,
            self.mask_token,
            self.image_positions,
            self.text_positions,
            self.token_types,
        ):
            if parameter is not None:
                truncated_normal_(parameter, std)
        if self.word_embed is not None:
            # As BEiT-3; nothing ever attends to it.
            nn.init.zeros_(self.word_embed.weight.data[PAD_ID])
        for layer, block in enumerate(self.blocks, 1):
            for weight in block.residual_projections():
                rescale_by_depth(weight, layer)

    def embed_image(
        self, image: Tensor, masked: Tensor | None, second: Tensor | None = None
    ) -> Tensor:
        """Images [batch, 3, size, size] in -1..1 to [batch, 1 + patches, embed_dim].

        masked: bool [batch, patches], row-major over the grid; True patches are replaced by the
            mask token.
        second: bool [batch], True for the second of two images; None: no image is.
        """
        patches = self.patch_embed(image).flatten(2).transpose(1, 2)  # [batch, patches, embed_dim]
        if masked is not None:
            patches = torch.where(masked[..., None], self.mask_token.to(patches.dtype), patches)
        x = torch.cat([self.image_cls.expand(image.shape[0], -1, -1), patches], dim=1)
        x = x if self.image_positions is None else x + self.image_positions
        if self.token_types is None:
            return x
        types = self.token_types[1] if second is None else self.token_types[1 + second.int()]
        return x + types.unsqueeze(-2)

    def embed_text(self, text: Tensor) -> Tensor:
        """Token ids [batch, length] to [batch, length, embed_dim]."""
        x = self.word_embed(text)
        x = x if self.word_norm is None else self.word_norm(x)
        x = x if self.text_positions is None else x + self.text_positions[:, : text.shape[1]]
        return x if self.token_types is None else x + self.token_types[0]

    def forward(
        self,
        image: Tensor | None = None,
        text: Tensor | None = None,
        *,
        text_mask: Tensor | None = None,
        image_masked: Tensor | None = None,
        drop_path_noise: Tensor | None = None,
    ) -> Encoded:
        """Encode images, texts or pairs; arguments as in `BackboneInput`."""
        batch = BackboneInput(image, text, text_mask, image_masked, drop_path_noise=drop_path_noise)
        (encoded,) = self.encode([batch])
        return encoded

    def cls(
        self,
        image: Tensor | None = None,
        text: Tensor | None = None,
        *,
        text_mask: Tensor | None = None,
        drop_path_noise: Tensor | None = None,
    ) -> Tensor:
        """[T_CLS] of texts and pairs, [I_CLS] of images alone, [batch, embed_dim]; arguments as in
        `BackboneInput`.

        What `forward` gives as `text[:, 0]` or `image[:, 0]`, with less to compute.
        """
        batch = BackboneInput(image, text, text_mask, drop_path_noise=drop_path_noise)
        vectors = self.cls_tokens(batch)
        return vectors.image if text is None else vectors.text

    def cls_tokens(self, batch: BackboneInput) -> ModalityTokens:
        """[T_CLS] and [I_CLS], [batch, embed_dim] each, or [0, embed_dim] of what is not given."""
        image, text = batch.image, batch.text
        samples = image if text is None else text
        assert samples is not None, "neither images nor texts"
        order = torch.arange(samples.shape[0], device=self.image_cls.device)
        # Of a pair both are read: so both experts in the last block have a gradient, if zero, for
        # which workers wait.
        positions = ModalityTokens(
            order[:0] if text is None else order * text.shape[1],
            order[:0] if image is None else order * (1 + self.config.patches),
        )
        (vectors,) = self.encode_at([batch], [positions])
        return vectors

    def encode(self, inputs: Sequence[BackboneInput]) -> list[Encoded]:
        """Encode several inputs in one pass: texts first, then pairs, then images."""
        normed, layout = self._run(inputs)
        encoded = []
        for shape, (text, image) in zip(layout.shapes, layout.split(normed), strict=True):
            encoded.append(Encoded(text if shape.text else None, image if shape.image else None))
        return encoded

    def encode_at(
        self, inputs: Sequence[BackboneInput], positions: Sequence[ModalityTokens]
    ) -> list[ModalityTokens]:
        """What `encode` gives at some positions: the last block attends to everything and computes
        only these.

        positions: for each input indices, int64 [n], into its flattened text [batch * length] and
            image [batch * (1 + patches)]; empty for what it has not or nobody reads.
        Returns vectors [n, embed_dim] for each input's text and image.
        """
        normed, _ = self._run(inputs, positions)
        texts = normed.text.split([position.text.shape[0] for position in positions])
        images = normed.image.split([position.image.shape[0] for position in positions])
        return [ModalityTokens(*both) for both in zip(texts, images, strict=True)]

    def _run(
        self,
        inputs: Sequence[BackboneInput],
        positions: Sequence[ModalityTokens] | None = None,
    ) -> tuple[ModalityTokens, TokenLayout]:
        """Vectors after the final norm, of all tokens or at some positions, and which are whose."""
        tokens, layout = self._embed(inputs)
        scales = self._drop_path_scales(inputs, layout)
        *blocks, last = self.blocks
        for block, scale in zip(blocks, scales[:-1], strict=True):
            tokens = self._run_block(block, tokens, layout, scale)
        selection = None if positions is None else layout.select(positions)
        tokens = self._run_block(last, tokens, layout, scales[-1], selection)
        return self._normed(tokens), layout

    def _normed(self, tokens: ModalityTokens) -> ModalityTokens:
        """The final norm of what the last block puts out."""
        # As one, so that experts whose output nobody reads have a gradient too: zero.
        if self.text_norm is None:
            normed = self.norm(torch.cat(tokens))
        else:
            normed = torch.cat([self.text_norm(tokens.text), self.norm(tokens.image)])
        return ModalityTokens(*normed.split([tokens.text.shape[0], tokens.image.shape[0]]))

    def image_features(
        self, image: Tensor, layers: Sequence[int], drop_path_noise: Tensor | None = None
    ) -> list[Tensor]:
        """What the blocks with these indices (0-based) put out for images alone, before the final
        norm.

        Each is [batch, 1 + patches, embed_dim]; arguments as in `BackboneInput`.
        """
        inputs = [BackboneInput(image, drop_path_noise=drop_path_noise)]
        tokens, layout = self._embed(inputs)
        scales = self._drop_path_scales(inputs, layout)
        outputs = {}
        for layer in range(max(layers) + 1):
            tokens = self._run_block(self.blocks[layer], tokens, layout, scales[layer])
            outputs[layer] = tokens.image.unflatten(0, (image.shape[0], -1))
        return [outputs[layer] for layer in layers]

    def _embed(self, inputs: Sequence[BackboneInput]) -> tuple[ModalityTokens, TokenLayout]:
        """Embedded tokens, and which are whose."""
        by_input, shapes, masks = [], [], []
        for batch in inputs:
            text, image = self._embed_input(batch)
            shapes.append(InputShape(text.shape[0], text.shape[1], image.shape[1]))
            by_input.append(ModalityTokens(text, image))
            masks.append(_key_mask(batch.text_mask, image.shape[1]))
        layout = TokenLayout(shapes, masks)
        if self.relative_bias is not None:
            layout = layout.biased(self.relative_bias)
        return layout.join(by_input), layout

    def _embed_input(self, batch: BackboneInput) -> ModalityTokens:
        """Embedded text [batch, length, embed_dim] and image [batch, 1 + patches, embed_dim]; of
        length 0 where not given."""
        samples = batch.image if batch.text is None else batch.text
        assert samples is not None, "neither images nor texts"
        nothing = self.image_cls.new_empty(samples.shape[0], 0, self.config.embed_dim)
        text = nothing if batch.text is None else self.embed_text(batch.text)
        if batch.image is None:
            return ModalityTokens(text, nothing)
        image = self.embed_image(batch.image, batch.image_masked, batch.second_image)
        return ModalityTokens(text, image)

    def _drop_path_scales(
        self, inputs: Sequence[BackboneInput], layout: TokenLayout
    ) -> Sequence[ModalityTokens | None]:
        """For each block, factors [tokens, 3] of its residual branches, or None without stochastic
        depth."""
        noises = [batch.drop_path_noise for batch in inputs if batch.drop_path_noise is not None]
        if self.config.drop_path == 0.0 or len(noises) < len(inputs):
            return [None] * len(self.blocks)
        rates = self.drop_rates(noises[0].device)
        by_input = []
        for noise, shape in zip(noises, layout.shapes, strict=True):
            scale = drop_path_scale(noise, rates)[:, None]  # [batch, 1, depth, 3]
            text = scale.expand(-1, shape.text, -1, -1)
            by_input.append(ModalityTokens(text, scale.expand(-1, shape.image, -1, -1)))
        text, image = layout.join(by_input)  # [tokens, depth, 3]
        by_block = zip(text.unbind(1), image.unbind(1), strict=True)
        return [ModalityTokens(*scales) for scales in by_block]

    def drop_rates(self, device: torch.device) -> Tensor:
        """How often each block's residual branches are dropped, [depth]: linear from 0 (stochastic
        depth)."""
        return torch.linspace(0, self.config.drop_path, len(self.blocks), device=device)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep no activations within a block for the backward pass, but compute them again: less
        memory, more time."""
        self.grad_checkpointing = enable

    def compile_blocks(self, **options: Any) -> None:
        """Let torch compile the blocks, each time their inputs are of a new kind; where it cannot,
        they run as they are.

        options: those of `torch.compile`.
        """
        torch._dynamo.config.suppress_errors = not options.get("fullgraph", False)
        for block in self.blocks:
            block.compile(recompile_limit=RECOMPILE_LIMIT, **options)

    def _run_block(
        self,
        block: Block,
        tokens: ModalityTokens,
        layout: TokenLayout,
        drop_path_scale: ModalityTokens | None,
        selection: Selection | None = None,
    ) -> ModalityTokens:
        def run(text: Tensor, image: Tensor) -> ModalityTokens:
            return block(ModalityTokens(text, image), layout, drop_path_scale, selection)

        if self.grad_checkpointing and torch.is_grad_enabled():
            # No random state to keep: noise comes from outside.
            return checkpoint(run, *tokens, use_reentrant=False, preserve_rng_state=False)
        return run(*tokens)

    def fitted(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor of the same name out of a backbone for images of another size; what does not
        depend on the size comes back as it is."""
        if name == "image_positions":
            return resize_image_positions(tensor, self.config.grid)
        if name.endswith("relative_bias.image_table"):
            return resize_image_table(tensor, self.config.grid)
        if name == "token_types" and self.config.second_image_type:
            return tensor[[0, 1, -1]]  # a second image starts as an image (VLMo)
        return tensor

    def freeze_unreached(self, uses: Collection[str]) -> None:
        """Take out of training what inputs of these kinds (`text`, `image`, `pair`) never reach in
        the blocks."""
        for block in self.blocks:
            block.freeze_experts(uses)
        if "pair" not in uses:
            for bias in self._biases():
                _freeze(bias.cross_table)

    def freeze_text(self) -> None:
        """For models of images alone: take out of training what only texts, masks or the final
        norm use."""
        self.freeze_unreached({"image"})
        _freeze(self.mask_token, self.word_embed, self.word_norm, self.text_positions)
        _freeze(self.norm, self.text_norm)
        for bias in self._biases():
            _freeze(bias.text_table)

    def _drop_text(self) -> None:
        self.register_parameter("mask_token", None)
        self.register_module("word_embed", None)
        self.word_norm = self.text_positions = self.text_norm = None
        for block in self.blocks:
            block.drop_text()
        for bias in self._biases():
            bias.drop_text()

    def _biases(self) -> list[RelativeBias]:
        """The tables of all blocks together, or of each."""
        return [module for module in self.modules() if isinstance(module, RelativeBias)]


def _freeze(*parts: nn.Module | Tensor | None) -> None:
    """Take out of training what there is of these."""
    for part in parts:
        if part is not None:
            part.requires_grad_(False)


def _final_norm(config: BackboneConfig) -> nn.Module:
    return layer_norm(config.embed_dim, config.norm_eps) if config.final_norm else nn.Identity()


def _block(config: BackboneConfig, index: int) -> Block:
    if config.experts == "multiway":
        return MultiwayBlock(config.embed_dim, config.num_heads, config.mlp_dim, config.norm_eps)
    first_pair_expert = config.vl_ffn_start_layer
    return MoMEBlock(
        config.embed_dim,
        config.num_heads,
        config.mlp_dim,
        experts=config.experts,
        layer_scale=config.layer_scale,
        norm_eps=config.norm_eps,
        pair_expert=first_pair_expert is not None and index >= first_pair_expert,
        relative_bias=_relative_bias(config) if config.bias_per_block else None,
    )


def _relative_bias(config: BackboneConfig) -> RelativeBias:
    sizes = config.num_heads, config.grid, config.text_length
    return RelativeBias(*sizes, text_cls=config.bias_per_block)


def _positions(config: BackboneConfig, length: int) -> nn.Parameter | None:
    """Vectors [1, length, embed_dim]; none where biases tell positions alone."""
    shape = (1, length, config.embed_dim)
    return nn.Parameter(torch.zeros(shape)) if config.absolute_positions else None


def _key_mask(text_mask: Tensor | None, image_length: int) -> Tensor | None:
    """[batch, text length] to [batch, 1, 1, text + image length]: only text is ever padded."""
    if text_mask is None:
        return None
    image = text_mask.new_ones(text_mask.shape[0], image_length)
    return torch.cat([text_mask, image], dim=1)[:, None, None, :]

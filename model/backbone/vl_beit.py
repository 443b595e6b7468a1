"""VL-BEiT's backbone: one bidirectional multimodal Transformer (VL-BEiT §2.1, §2.2).

The same weights are an image encoder, a text encoder and, on both at once, a fusion encoder:

    image            [I_CLS] v1 ... vP                        V-FFN
    text             [T_CLS] w1 ... wM [T_SEP]                L-FFN
    pair             text, then image, attending to each other

Notable: positions are learned and absolute; a masked patch is replaced before its position is
added, and [I_CLS] is never masked. Several streams go through in one pass
(`model.backbone.token_layout`). Token types, relative biases, layer scale and an expert for pairs
are options of the configuration, off by default.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.backbone.config import PAD_ID, BackboneConfig
from model.backbone.init import init_module, rescale_by_depth, truncated_normal_
from model.backbone.layers import drop_path_factors, layer_norm
from model.backbone.mome import MoMEBlock
from model.backbone.pos_embed import resize_image_positions
from model.backbone.rel_pos_bias import RelativeBias, resize_image_table
from model.backbone.token_layout import Chosen, Layout, Rows, Shape
from model.checkpoint import Pretrained

# of inputs: texts, pictures, pairs, of one length or any, all or little read, to train on or not
KINDS = 64


@dataclass(frozen=True)
class Stream:
    """Pictures, texts or pairs."""

    image: Tensor | None = None  # float [batch, 3, size, size] in -1..1
    text: Tensor | None = None  # int64 [batch, length], padded
    text_mask: Tensor | None = (
        None  # bool [batch, length], True for tokens; None where nothing is padded
    )
    image_masked: Tensor | None = (
        None  # bool [batch, patches], True for patches to replace by the mask token
    )
    drop_path_noise: Tensor | None = (
        None  # [batch, depth, 3] numbers in [0, 1) for stochastic depth; None for evaluation
    )


@dataclass(frozen=True)
class Encoded:
    """Final-norm vectors. A stream that was not given is None."""

    text: Tensor | None  # [batch, text length, embed_dim], [T_CLS] first
    image: Tensor | None  # [batch, 1 + patches, embed_dim], [I_CLS] first


class VLBeit(Pretrained, nn.Module):
    """The multimodal Transformer; without `text`, its image encoder alone, which has nothing that
    only texts, pairs and masks use."""

    Config: ClassVar = BackboneConfig

    def __init__(self, config: BackboneConfig, *, text: bool = True):
        super().__init__()
        self.config = config
        embed_dim = config.embed_dim
        self.patch_embed = nn.Conv2d(3, embed_dim, config.patch_size, stride=config.patch_size)
        self.image_cls = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.image_positions = nn.Parameter(torch.zeros(1, 1 + config.patches, embed_dim))
        self.word_embed = nn.Embedding(config.vocab_size, embed_dim)
        self.text_positions = nn.Parameter(torch.zeros(1, config.text_length, embed_dim))
        self.blocks = nn.ModuleList(
            MoMEBlock(
                embed_dim,
                config.num_heads,
                config.mlp_dim,
                experts=config.experts,
                layer_scale=config.layer_scale,
                pair_expert=config.vl_ffn_start_layer is not None
                and layer >= config.vl_ffn_start_layer,
            )
            for layer in range(config.depth)
        )
        self.norm = layer_norm(embed_dim)
        self.token_types = (
            nn.Parameter(torch.zeros(2, embed_dim)) if config.token_types else None
        )  # text, picture
        self.relative_bias = (
            RelativeBias(config.num_heads, config.grid, config.text_length)
            if config.relative_bias
            else None
        )
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
            nn.init.zeros_(
                self.word_embed.weight.data[PAD_ID]
            )  # (BEiT-3); nothing ever attends to it
        for layer, block in enumerate(self.blocks, 1):
            for weight in block.residual_projections():
                rescale_by_depth(weight, layer)

    def embed_image(self, image: Tensor, masked: Tensor | None) -> Tensor:
        """Pictures [batch, 3, size, size] in -1..1 to [batch, 1 + patches, embed_dim].

        masked: bool [batch, patches], row-major over the grid; True patches are replaced by the
        mask token.
        """
        patches = self.patch_embed(image).flatten(2).transpose(1, 2)  # [batch, patches, embed_dim]
        if masked is not None:
            patches = torch.where(masked[..., None], self.mask_token.to(patches.dtype), patches)
        x = (
            torch.cat([self.image_cls.expand(len(image), -1, -1), patches], dim=1)
            + self.image_positions
        )
        return x if self.token_types is None else x + self.token_types[1]

    def embed_text(self, text: Tensor) -> Tensor:
        """Ids [batch, length] to [batch, length, embed_dim]."""
        x = self.word_embed(text) + self.text_positions[:, : text.shape[1]]
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
        """Encode pictures, texts or pairs; arguments as in `Stream`."""
        (encoded,) = self.encode([Stream(image, text, text_mask, image_masked, drop_path_noise)])
        return encoded

    def cls(
        self,
        image: Tensor | None = None,
        text: Tensor | None = None,
        *,
        text_mask: Tensor | None = None,
        drop_path_noise: Tensor | None = None,
    ) -> Tensor:
        """[T_CLS] of texts and pairs, [I_CLS] of pictures alone, [batch, embed_dim]; arguments as in
        `Stream`.

        What `forward` gives as `text[:, 0]` or `image[:, 0]`, with less to compute.
        """
        order = torch.arange(len(image if text is None else text), device=self.norm.weight.device)
        # A pair's [I_CLS] is read, too: so its expert in the last block has a gradient, zero, for
        # which workers wait.
        places = Rows(
            order[:0] if text is None else order * text.shape[1],
            order[:0] if image is None else order * (1 + self.config.patches),
        )
        (rows,) = self.encode_at(
            [Stream(image, text, text_mask, drop_path_noise=drop_path_noise)], [places]
        )
        return rows.image if text is None else rows.text

    def encode(self, streams: Sequence[Stream]) -> list[Encoded]:
        """Encode several streams in one pass: texts first, then pairs, then pictures."""
        normed, layout = self._run(streams)
        return [
            Encoded(text=text if shape.text else None, image=image if shape.image else None)
            for shape, (text, image) in zip(layout.shapes, layout.halves(normed), strict=True)
        ]

    def encode_at(self, streams: Sequence[Stream], places: Sequence[Rows]) -> list[Rows]:
        """The same for those who read little of it: the last block attends to everything and
        computes what is read.

        places: for each stream indices, int64 [n], in its flattened text [batch * length] and image
            [batch * (1 + patches)]; empty for what it has not or nobody reads.
        Returns vectors [n, embed_dim] for each stream's text and image.
        """
        normed, _ = self._run(streams, places)
        texts = normed.text.split([len(one.text) for one in places])
        images = normed.image.split([len(one.image) for one in places])
        return [Rows(*both) for both in zip(texts, images, strict=True)]

    def _run(
        self, streams: Sequence[Stream], places: Sequence[Rows] | None = None
    ) -> tuple[Rows, Layout]:
        """Final-norm vectors of all streams, or of some places, and where each stream's tokens
        are."""
        rows, layout = self._embedded(streams)
        *before, last = zip(self.blocks, self._kept(streams, layout), strict=True)
        for block, kept in before:
            rows = self._through(block, rows, layout, kept)
        rows = self._through(
            last[0], rows, layout, last[1], None if places is None else layout.choose(places)
        )
        x = self.norm(
            torch.cat(rows)
        )  # as one, so that experts whose output nobody reads have a gradient too: zero
        return Rows(*x.split([len(rows.text), len(rows.image)])), layout

    def image_features(
        self, image: Tensor, layers: Sequence[int], drop_path_noise: Tensor | None = None
    ) -> list[Tensor]:
        """What the blocks with these indices (0-based) put out for pictures alone, before the final
        norm.

        Each is [batch, 1 + patches, embed_dim]; arguments as in `Stream`.
        """
        streams, outputs, needed = (
            [Stream(image, drop_path_noise=drop_path_noise)],
            {},
            max(layers) + 1,
        )
        rows, layout = self._embedded(streams)
        kept = self._kept(streams, layout)[:needed]
        for layer, (block, factors) in enumerate(zip(self.blocks[:needed], kept, strict=True)):
            rows = self._through(block, rows, layout, factors)
            outputs[layer] = rows.image.unflatten(0, (len(image), -1))
        return [outputs[layer] for layer in layers]

    def _embedded(self, streams: Sequence[Stream]) -> tuple[Rows, Layout]:
        """Rows [rows, embed_dim], and where each stream's are."""
        halves = [self._halves(stream) for stream in streams]
        shapes = [Shape(len(text), text.shape[1], image.shape[1]) for text, image in halves]
        masks = [
            self._attention_mask(stream.text_mask, shape.text, shape.image)
            for stream, shape in zip(streams, shapes, strict=True)
        ]
        layout = Layout(shapes, masks)
        return layout.rows(halves), layout

    def _halves(self, stream: Stream) -> Rows:
        """Embedded text [batch, length, embed_dim] and picture [batch, 1 + patches, embed_dim]; of length 0
        where not given."""
        given = stream.image if stream.text is None else stream.text
        nothing = self.image_cls.new_empty(len(given), 0, self.config.embed_dim)
        return Rows(
            nothing if stream.text is None else self.embed_text(stream.text),
            nothing
            if stream.image is None
            else self.embed_image(stream.image, stream.image_masked),
        )

    def _kept(self, streams: Sequence[Stream], layout: Layout) -> Sequence[Rows | None]:
        """For each block, factors [rows, 3] of its residual branches for stochastic depth, or None
        for none."""
        if self.config.drop_path == 0.0 or any(s.drop_path_noise is None for s in streams):
            return [None] * len(self.blocks)
        rates = self.drop_rates(streams[0].drop_path_noise.device)
        halves = []
        for stream, shape in zip(streams, layout.shapes, strict=True):
            factors = drop_path_factors(stream.drop_path_noise, rates)[:, None]
            halves.append(
                Rows(
                    factors.expand(-1, shape.text, -1, -1), factors.expand(-1, shape.image, -1, -1)
                )
            )
        text, image = layout.rows(halves)
        return [Rows(*of_block) for of_block in zip(text.unbind(1), image.unbind(1), strict=True)]

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
            block.compile(recompile_limit=KINDS, **options)

    def _through(
        self,
        block: MoMEBlock,
        rows: Rows,
        layout: Layout,
        kept: Rows | None,
        chosen: Chosen | None = None,
    ) -> Rows:
        def again(text: Tensor, image: Tensor) -> Rows:
            return block(Rows(text, image), layout, kept, chosen)

        if self.grad_checkpointing and torch.is_grad_enabled():
            return checkpoint(
                again, *rows, use_reentrant=False, preserve_rng_state=False
            )  # draws come from outside
        return again(*rows)

    def _attention_mask(self, text_mask: Tensor | None, text: int, image: int) -> Tensor | None:
        """Which keys may be attended to and, where positions have biases, how much; as blocks take
        it."""
        mask = None if text_mask is None else _key_mask(text_mask, image)
        if self.relative_bias is None:
            return mask
        bias = self.relative_bias(text, image)[None]
        return bias if mask is None else bias.masked_fill(~mask, float("-inf"))

    def fitted(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor of the same name out of a backbone for pictures of another size; what no
        picture's size changes comes back as it is."""
        if name == "image_positions":
            return resize_image_positions(tensor, self.config.grid)
        return (
            resize_image_table(tensor, self.config.grid)
            if name == "relative_bias.image_table"
            else tensor
        )

    def freeze_unreached(self, uses: Collection[str]) -> None:
        """Take out of training what inputs of these kinds (`text`, `image`, `pair`) never reach in
        the blocks."""
        for block in self.blocks:
            block.freeze_experts(uses)
        if self.relative_bias is not None and "pair" not in uses:
            self.relative_bias.cross_table.requires_grad_(False)

    def freeze_text(self) -> None:
        """For models of pictures alone: take out of training what only texts, masks or the final
        norm use."""
        self.freeze_unreached({"image"})
        unused = [
            self.mask_token,
            self.word_embed.weight,
            self.text_positions,
            *self.norm.parameters(),
        ]
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

"""Mixture-of-Modality-Experts block (VL-BEiT §2.2): shared attention, one feed-forward expert per
modality.

Text and patches come in a matrix each (`model.backbone.token_layout`), so routing is a matter of
slices, never a gather.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from model.backbone.layers import EPS, Attention, FeedForward, layer_norm
from model.backbone.rel_pos_bias import RelativeBias
from model.backbone.token_layout import ModalityTokens, Selection, TokenLayout

# Residual branches of a block: attention, text expert (or the only one), image expert.
DROP_PATH_BRANCHES = 3


class Expert(nn.Module):
    """A feed-forward network with its own norm: x to FFN(LN(x))."""

    def __init__(self, embed_dim: int, mlp_dim: int, norm_eps: float = EPS):
        super().__init__()
        self.norm = layer_norm(embed_dim, norm_eps)
        self.mlp = FeedForward(embed_dim, mlp_dim)

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, embed_dim] to the same."""
        return self.mlp(self.norm(x))


class MoMEBlock(nn.Module):
    """Pre-norm block. In the standard Transformer (Table 5) both modalities use one and the same
    expert.

    Options: a third expert for both halves of a pair (VLMo), a learned factor for each channel of
    the residual branches, shared by the experts (BEiT's layer scale), and biases of attention that
    are this block's alone (VLMo).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_dim: int,
        *,
        experts: str,
        pair_expert: bool = False,
        layer_scale: float = 0.0,
        norm_eps: float = EPS,
        relative_bias: RelativeBias | None = None,
    ):
        super().__init__()
        self.is_mome = experts == "mome"
        self.norm = layer_norm(embed_dim, norm_eps)
        self.attn = Attention(embed_dim, num_heads)
        if self.is_mome:
            self.text_expert = Expert(embed_dim, mlp_dim, norm_eps)
            self.image_expert = Expert(embed_dim, mlp_dim, norm_eps)
        else:
            self.expert = Expert(embed_dim, mlp_dim, norm_eps)
        self.pair_expert = Expert(embed_dim, mlp_dim, norm_eps) if pair_expert else None
        self.attn_scale = _layer_scale(embed_dim, layer_scale)
        self.ffn_scale = _layer_scale(embed_dim, layer_scale)
        self.relative_bias = relative_bias

    def forward(
        self,
        tokens: ModalityTokens,
        layout: TokenLayout,
        drop_path_scale: ModalityTokens | None,
        selection: Selection | None = None,
    ) -> ModalityTokens:
        """One block.

        Args:
            tokens: [tokens, embed_dim] of text and of patches, as `layout` says.
            drop_path_scale: [tokens, 3] factors of the residual branches; None without stochastic
                depth.
            selection: which tokens the output is computed for; all others are attended to and left
                out. None: every token.
        """
        if self.relative_bias is not None:
            layout = layout.biased(self.relative_bias)
        qkv = ModalityTokens(*(self.attn.project_qkv(self.norm(x)) for x in tokens))
        attended = layout.per_input(self.attn.attend, qkv)
        if selection is not None:
            tokens, attended = tokens.select(selection.indices), attended.select(selection.indices)
            if drop_path_scale is not None:
                drop_path_scale = drop_path_scale.select(selection.indices)
        text_scale, image_scale = (None, None) if drop_path_scale is None else drop_path_scale
        text = self.attn.proj(attended.text)
        text = _add(tokens.text, text, self.attn_scale, text_scale, 0)
        image = self.attn.proj(attended.image)
        image = _add(tokens.image, image, self.attn_scale, image_scale, 0)
        counts = layout if selection is None else selection
        return self._feed_forward(text, image, text_scale, image_scale, counts)

    def _feed_forward(
        self,
        text: Tensor,
        image: Tensor,
        text_scale: Tensor | None,
        image_scale: Tensor | None,
        counts: TokenLayout | Selection,
    ) -> ModalityTokens:
        """Text and patches [tokens, embed_dim] through their experts."""
        if not self.is_mome:
            text = self._feed(self.expert, text, text_scale, 1)
            return ModalityTokens(text, self._feed(self.expert, image, image_scale, 1))
        if self.pair_expert is None:
            text = self._feed(self.text_expert, text, text_scale, 1)
            return ModalityTokens(text, self._feed(self.image_expert, image, image_scale, 2))
        experts = self.text_expert, self.pair_expert
        text = self._feed_two(experts, text, text_scale, (1, 1), counts.num_unpaired_text)
        experts = self.pair_expert, self.image_expert
        image = self._feed_two(experts, image, image_scale, (1, 2), counts.num_paired_patches)
        return ModalityTokens(text, image)

    def _feed(
        self, expert: Expert, x: Tensor, drop_path_scale: Tensor | None, column: int
    ) -> Tensor:
        """Tokens through an expert; without any it has no gradient."""
        return _add(x, expert(x), self.ffn_scale, drop_path_scale, column) if x.shape[0] else x

    def _feed_two(
        self,
        experts: tuple[Expert, Expert],
        x: Tensor,
        drop_path_scale: Tensor | None,
        columns: tuple[int, int],
        count: int,
    ) -> Tensor:
        """The first `count` tokens through one expert, the others through another."""
        head, tail = None, None
        if drop_path_scale is not None:
            head, tail = drop_path_scale[:count], drop_path_scale[count:]
        first = self._feed(experts[0], x[:count], head, columns[0])
        return torch.cat([first, self._feed(experts[1], x[count:], tail, columns[1])])

    def freeze_experts(self, uses: Collection[str]) -> None:
        """Take experts out of training that inputs of these kinds (`text`, `image`, `pair`) never
        reach."""
        if not self.is_mome:
            return
        fused = {"pair"} if self.pair_expert is None else set()  # what reaches both experts
        for expert, alone in ((self.text_expert, "text"), (self.image_expert, "image")):
            if expert is not None and not {alone, *fused} & set(uses):
                expert.requires_grad_(False)
        if self.pair_expert is not None and "pair" not in uses:
            self.pair_expert.requires_grad_(False)

    def drop_text(self) -> None:
        """Remove the experts that images alone never reach; one for all tokens stays."""
        if self.is_mome:
            self.register_module("text_expert", None)
            self.pair_expert = None

    def residual_projections(self) -> list[Tensor]:
        """The weights that write into the residual stream: what the depth rescale divides."""
        experts = [module for module in self.children() if isinstance(module, Expert)]
        return [self.attn.proj.weight, *(expert.mlp.fc2.weight for expert in experts)]


def _layer_scale(embed_dim: int, initial: float) -> nn.Parameter | None:
    """Factors [embed_dim]; none where they would start at 0."""
    return nn.Parameter(torch.full((embed_dim,), initial)) if initial else None


def _add(
    x: Tensor,
    branch: Tensor,
    layer_scale: Tensor | None,
    drop_path_scale: Tensor | None,
    column: int,
) -> Tensor:
    """x and a residual branch, both [tokens, embed_dim], with layer scale [embed_dim] and
    stochastic depth by a column of `drop_path_scale` [tokens, 3]."""
    branch = branch if layer_scale is None else branch * layer_scale
    if drop_path_scale is None:
        return x + branch
    return x + branch * drop_path_scale[:, column, None].to(branch.dtype)

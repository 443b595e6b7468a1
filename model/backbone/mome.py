"""Mixture-of-Modality-Experts block (VL-BEiT §2.2): shared attention, one feed-forward expert per
modality.

Text and patches come in a matrix each (`model.backbone.token_layout`), so routing is a matter of
slices, never a gather.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from model.backbone.layers import Attention, FeedForward, layer_norm
from model.backbone.token_layout import Chosen, Layout, Rows

DROP_PATH_BRANCHES = (
    3  # residual branches of a block: attention, text expert (or the only one), image expert
)


class Expert(nn.Module):
    """A feed-forward network with its own norm: x to FFN(LN(x))."""

    def __init__(self, embed_dim: int, mlp_dim: int):
        super().__init__()
        self.norm = layer_norm(embed_dim)
        self.mlp = FeedForward(embed_dim, mlp_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.norm(x))


class MoMEBlock(nn.Module):
    """Pre-norm block. In the standard Transformer (Table 5) both modalities use one and the same
    expert.

    Options: a third expert for both halves of a pair (VLMo), and a learned factor for each channel
    of the residual branches, shared by the experts (BEiT's layer scale).
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
    ):
        super().__init__()
        self.norm = layer_norm(embed_dim)
        self.attn = Attention(embed_dim, num_heads)
        if experts == "mome":
            self.text_expert = Expert(embed_dim, mlp_dim)
            self.image_expert = Expert(embed_dim, mlp_dim)
        else:
            self.expert = Expert(embed_dim, mlp_dim)
        self.pair_expert = Expert(embed_dim, mlp_dim) if pair_expert else None
        self.attn_scale = (
            nn.Parameter(torch.full((embed_dim,), layer_scale)) if layer_scale else None
        )
        self.ffn_scale = (
            nn.Parameter(torch.full((embed_dim,), layer_scale)) if layer_scale else None
        )

    def forward(
        self, rows: Rows, layout: Layout, kept: Rows | None, chosen: Chosen | None = None
    ) -> Rows:
        """One block.

        Args:
            rows: [rows, embed_dim] of text and of patches, as `layout` says. kept: [rows, 3] factors of
            the residual branches, for stochastic depth; None for none. chosen: what is read of the
            output; all else is attended to and left out. None: everything.
        """
        qkv = Rows(*(self.attn.projected(self.norm(x)) for x in rows))
        attended = layout.per_stream(self.attn.attend, qkv)
        if chosen is not None:
            rows, attended = rows.at(chosen.places), attended.at(chosen.places)
            kept = kept if kept is None else kept.at(chosen.places)
        text_kept, image_kept = (None, None) if kept is None else kept
        text = _add(rows.text, self.attn.proj(attended.text), self.attn_scale, text_kept, 0)
        image = _add(rows.image, self.attn.proj(attended.image), self.attn_scale, image_kept, 0)
        if not hasattr(self, "text_expert"):
            return Rows(
                self._feed(self.expert, text, text_kept, 1),
                self._feed(self.expert, image, image_kept, 1),
            )
        if self.pair_expert is None:
            return Rows(
                self._feed(self.text_expert, text, text_kept, 1),
                self._feed(self.image_expert, image, image_kept, 2),
            )
        counts = layout if chosen is None else chosen
        return Rows(
            self._feed_two(
                self.text_expert, self.pair_expert, text, text_kept, (1, 1), counts.of_texts
            ),
            self._feed_two(
                self.pair_expert, self.image_expert, image, image_kept, (1, 2), counts.of_pairs
            ),
        )

    def _feed(self, expert: Expert, x: Tensor, kept: Tensor | None, column: int) -> Tensor:
        """Rows through an expert; none of them, and it has no gradient."""
        return _add(x, expert(x), self.ffn_scale, kept, column) if len(x) else x

    def _feed_two(
        self,
        first: Expert,
        second: Expert,
        x: Tensor,
        kept: Tensor | None,
        columns: tuple[int, int],
        count: int,
    ) -> Tensor:
        """The first `count` rows through one expert, the others through another."""
        one, other = (None, None) if kept is None else (kept[:count], kept[count:])
        return torch.cat(
            [
                self._feed(first, x[:count], one, columns[0]),
                self._feed(second, x[count:], other, columns[1]),
            ]
        )

    def freeze_experts(self, uses: Collection[str]) -> None:
        """Take experts out of training that inputs of these kinds (`text`, `image`, `pair`) never
        reach."""
        if not hasattr(self, "text_expert"):
            return
        fused = {"pair"} if self.pair_expert is None else set()  # what reaches both experts
        for expert, alone in ((self.text_expert, "text"), (self.image_expert, "image")):
            if not {alone, *fused} & set(uses):
                expert.requires_grad_(False)
        if self.pair_expert is not None and "pair" not in uses:
            self.pair_expert.requires_grad_(False)

    def drop_text(self) -> None:
        """Remove the experts that pictures alone never reach; one for all tokens stays."""
        if hasattr(self, "text_expert"):
            self.text_expert = self.pair_expert = None

    def residual_projections(self) -> list[Tensor]:
        """The weights that write into the residual stream: what the depth rescale divides."""
        experts = [m for m in self.children() if isinstance(m, Expert)]
        return [self.attn.proj.weight, *(expert.mlp.fc2.weight for expert in experts)]


def _add(
    x: Tensor, branch: Tensor, scale: Tensor | None, kept: Tensor | None, column: int
) -> Tensor:
    """x and a residual branch, both [rows, embed_dim], with layer scale and stochastic depth by a
    column of `kept`."""
    branch = branch if scale is None else branch * scale
    return x + (branch if kept is None else branch * kept[:, column, None].to(branch.dtype))

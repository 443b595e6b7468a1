"""Multiway block (BEiT-3): each modality has projections, norms and a feed-forward network of its
own; the modalities meet in the softmax of attention alone.

Beside the norms before attention and before the feed-forward network, one stands behind the heads'
outputs and one behind GELU (sub-LayerNorm). Keys have a bias, which matters in pairs only: what all
keys of a query share changes no softmax.
"""

from collections.abc import Collection
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from model.backbone.fast_linear import Linear
from model.backbone.layers import attend, layer_norm
from model.backbone.token_layout import ModalityTokens, Selection, TokenLayout


class ModalityLayers(nn.Module):
    """What a block does to each token of a modality."""

    def __init__(self, embed_dim: int, mlp_dim: int, norm_eps: float):
        super().__init__()
        self.attn_norm = layer_norm(embed_dim, norm_eps)
        self.qkv = Linear(embed_dim, 3 * embed_dim)
        self.attended_norm = layer_norm(embed_dim, norm_eps)
        self.proj = Linear(embed_dim, embed_dim)
        self.mlp_norm = layer_norm(embed_dim, norm_eps)
        self.fc1 = Linear(embed_dim, mlp_dim)
        self.hidden_norm = layer_norm(mlp_dim, norm_eps)
        self.fc2 = Linear(mlp_dim, embed_dim)

    def project_qkv(self, x: Tensor) -> Tensor:
        """[tokens, embed_dim] to queries, keys and values, [tokens, 3 * embed_dim]."""
        return self.qkv(self.attn_norm(x))

    def residual(
        self, x: Tensor, attended: Tensor, drop_path_scale: Tensor | None, column: int
    ) -> Tensor:
        """The block's output [tokens, embed_dim], from its input x and the heads' outputs, both
        [tokens, embed_dim].

        drop_path_scale: [tokens, branches] factors, of attention's branch in the first column and
            of the feed-forward network's in `column`.
        """
        branch = self.proj(self.attended_norm(attended))
        x = x + _scaled(branch, drop_path_scale, 0)
        branch = self.fc2(self.hidden_norm(F.gelu(self.fc1(self.mlp_norm(x)))))
        return x + _scaled(branch, drop_path_scale, column)


class MultiwayBlock(nn.Module):
    """Pre-norm block of two modalities, with the methods of `MoMEBlock`."""

    def __init__(self, embed_dim: int, num_heads: int, mlp_dim: int, norm_eps: float):
        super().__init__()
        self.num_heads = num_heads
        self.text: ModalityLayers | None = ModalityLayers(embed_dim, mlp_dim, norm_eps)
        self.image = ModalityLayers(embed_dim, mlp_dim, norm_eps)

    def forward(
        self,
        tokens: ModalityTokens,
        layout: TokenLayout,
        drop_path_scale: ModalityTokens | None,
        selection: Selection | None = None,
    ) -> ModalityTokens:
        """One block; arguments as in `MoMEBlock`."""
        text, image = tokens
        qkv = ModalityTokens(self._project_text(text), self.image.project_qkv(image))
        attended = layout.per_input(partial(attend, num_heads=self.num_heads), qkv)
        if selection is not None:
            tokens, attended = tokens.select(selection.indices), attended.select(selection.indices)
            if drop_path_scale is not None:
                drop_path_scale = drop_path_scale.select(selection.indices)
        text_scale, image_scale = (None, None) if drop_path_scale is None else drop_path_scale
        image = self.image.residual(tokens.image, attended.image, image_scale, 2)
        if self.text is None:
            return ModalityTokens(tokens.text, image)
        text = self.text.residual(tokens.text, attended.text, text_scale, 1)
        return ModalityTokens(text, image)

    def _project_text(self, x: Tensor) -> Tensor:
        """As `ModalityLayers.project_qkv`; without a text half there are no tokens."""
        return x.new_empty(0, 3 * x.shape[1]) if self.text is None else self.text.project_qkv(x)

    def freeze_experts(self, uses: Collection[str]) -> None:
        """Take the layers of a modality out of training that inputs of these kinds (`text`,
        `image`, `pair`) never reach."""
        for layers, alone in ((self.text, "text"), (self.image, "image")):
            if layers is not None and not {alone, "pair"} & set(uses):
                layers.requires_grad_(False)

    def drop_text(self) -> None:
        """Remove what images alone never reach."""
        self.text = None

    def residual_projections(self) -> list[Tensor]:
        """The weights that write into the residual stream: what the depth rescale divides."""
        halves = (self.image,) if self.text is None else (self.text, self.image)
        return [layer.weight for half in halves for layer in (half.proj, half.fc2)]


def _scaled(branch: Tensor, drop_path_scale: Tensor | None, column: int) -> Tensor:
    """A residual branch [tokens, embed_dim] with stochastic depth, factors [tokens, branches]."""
    if drop_path_scale is None:
        return branch
    return branch * drop_path_scale[:, column, None].to(branch.dtype)

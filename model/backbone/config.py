"""The shape of a VL-BEiT backbone."""

from dataclasses import dataclass
from typing import Any

PAD_ID = 1  # of padding among the text ids
EXPERTS = ("mome", "standard", "multiway")
MAX_DEPTH = 1000  # blocks; the deepest Transformers of the field have some hundreds


@dataclass(frozen=True)
class BackboneConfig:
    """Sizes of the multimodal Transformer (VL-BEiT §3.1 gives the base size's)."""

    image_size: int  # pixels; images are square
    patch_size: int  # pixels
    depth: int  # blocks
    embed_dim: int
    num_heads: int
    mlp_dim: int  # hidden layer of the feed-forward networks
    vocab_size: int  # text ids, special ids included; 0: reads no texts (BEiT)
    text_length: int  # rows of the text position table; shorter texts use the first rows
    # "mome": one feed-forward expert per modality; "standard": one for all tokens (Table 5);
    # "multiway": all but attention's softmax per modality (BEiT-3)
    experts: str
    # of the truncated normal that weights are drawn from (BEiT: 0.02, at an embed_dim of 768)
    init_std: float
    drop_path: float  # stochastic depth of the last block, growing linearly from 0 at the first
    # What VL-BEiT does not mention and a relative has. Off: the paper's formulas are complete
    # without (choice).
    layer_scale: float = 0.0  # initial factor on the residual branches (BEiT: 0.1); 0: none
    relative_bias: bool = False  # of attention (BEiT, VLMo)
    # each block has tables of biases of its own, with rows for [T_CLS] (VLMo, fine-tuned BEiT)
    bias_per_block: bool = False
    token_types: bool = False  # a vector added to all tokens of a modality (VLMo)
    second_image_type: bool = False  # another one for NLVR2's second image (VLMo)
    word_norm: bool = False  # a norm after the words' vectors (VLMo)
    absolute_positions: bool = True  # learned vectors of positions (BEiT, VLMo: none)
    # first block, from 0, with an expert of its own for pairs (VLMo: 10 of 12)
    vl_ffn_start_layer: int | None = None
    norm_eps: float = 1e-6  # of all norms (BEiT, VLMo: 1e-6; BEiT-3: 1e-5)
    final_norm: bool = True  # behind the last block; BEiT-3's VQA goes without

    def __post_init__(self) -> None:
        if not 1 <= self.depth <= MAX_DEPTH:
            raise ValueError(f"depth: expected 1 to {MAX_DEPTH} blocks, found {self.depth}")
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim {self.embed_dim} is not a multiple of num_heads {self.num_heads}"
            )
        if not self.init_std > 0:
            raise ValueError(f"init_std: expected more than 0, found {self.init_std}")
        if self.experts not in EXPERTS:
            raise ValueError(f"experts: expected one of {EXPERTS}, found {self.experts!r}")
        if self.experts != "mome" and self.vl_ffn_start_layer is not None:
            raise ValueError(
                f"vl_ffn_start_layer: a {self.experts} Transformer has no expert for pairs"
            )
        for option, needed in (
            ("bias_per_block", "relative_bias"),
            ("second_image_type", "token_types"),
        ):
            if getattr(self, option) and not getattr(self, needed):
                raise ValueError(f"{option}: needs {needed}")
        for option in ("layer_scale", "bias_per_block"):
            if self.experts == "multiway" and getattr(self, option):
                raise ValueError(f"{option}: a multiway Transformer has none")
        if not 0 < self.norm_eps < 1:
            raise ValueError(f"norm_eps: expected a number above 0 and below 1: {self.norm_eps}")

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "BackboneConfig":
        """The inverse of `dataclasses.asdict`."""
        return cls(**tree)

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches per image."""
        return self.grid**2

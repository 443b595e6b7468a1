"""VL-BEiT's image encoder alone, as a timm model: `timm.create_model("vlbeit_base_patch16_224")`.

It is `VLBeit` without what only texts and masks use, and a head (VL-BEiT §3.3): the mean of the
patches, a norm in place of the backbone's final one, a linear classifier. Its tensors are named as
those of `Classification`, so the weights of any VL-BEiT go in as they are: what belongs to texts,
or to another head, is left out.

Notable: the noise of stochastic depth is drawn from torch's generator here, since timm's training
loops pass none in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from model.backbone.config import BackboneConfig
from model.backbone.init import init_module
from model.backbone.layers import layer_norm
from model.backbone.mome import DROP_PATH_BRANCHES
from model.backbone.vl_beit import VLBeit
from model.checkpoint import Folder, Pretrained, load
from model.heads.classification import HEAD_SCALE, Classification
from model.heads.common import init_heads
from model.timm_import import import_timm

timm = import_timm()
BASE = BackboneConfig(
    image_size=224,
    patch_size=16,
    depth=12,
    embed_dim=768,
    num_heads=12,
    mlp_dim=3072,
    vocab_size=1,
    text_length=1,
    experts="mome",
    init_std=0.02,
    drop_path=0.0,
)  # VL-BEiT §3.1, without texts
POOLS = ("avg", "token", "")  # mean of the patches, [I_CLS], or all vectors as they are


@dataclass(frozen=True)
class ImageEncoderConfig:
    """A backbone, of which nothing that texts need is used, and the head."""

    backbone: BackboneConfig
    num_classes: int  # 0: no classifier
    global_pool: str
    drop_rate: float = 0.0  # dropout before the classifier
    in_chans: int = 3  # channels of the images

    def __post_init__(self) -> None:
        if self.global_pool not in POOLS:
            raise ValueError(f"global_pool: expected one of {POOLS}, found {self.global_pool!r}")

    @classmethod
    def from_dict(cls, tree: dict[str, Any]) -> "ImageEncoderConfig":
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**tree, "backbone": BackboneConfig(**tree["backbone"])})


class ImageEncoder(Pretrained, nn.Module):
    """The image path behind the methods and attributes that timm's models have."""

    Config: ClassVar = ImageEncoderConfig
    num_prefix_tokens = 1  # [I_CLS]

    def __init__(self, config: ImageEncoderConfig):
        super().__init__()
        self.config = config
        self.backbone = VLBeit(replace(config.backbone, vocab_size=1, text_length=1), text=False)
        if config.in_chans != 3:
            self.backbone.patch_embed = _patch_embed(config)
        self.in_chans = config.in_chans
        self.embed_dim = self.num_features = self.head_hidden_size = config.backbone.embed_dim
        self.feature_info = []
        for layer in range(config.backbone.depth):
            module, stride = f"backbone.blocks.{layer}", config.backbone.patch_size
            feature = {"module": module, "num_chs": self.embed_dim, "reduction": stride}
            self.feature_info.append(feature)
        self.norm: nn.Module = nn.Identity()
        self.head_drop = nn.Dropout(config.drop_rate)
        self.reset_classifier(config.num_classes, config.global_pool)

    @classmethod
    def from_pretrained(cls, folder: Folder, image_size: int | None = None) -> Self:
        """The image encoder of any VL-BEiT's folder, in evaluation mode: of a classifier with its
        head, of others the final norm's vectors.

        image_size: pixels, where images have another size than in training. A segmentation model
            that was trained on images normalized by ImageNet's statistics wants such images here,
            too.

        Raises:
            FileNotFoundError, ValueError: as `load`; or the folder's model has no image encoder.
            One line.
        """
        model = load(folder)
        backbone = model if isinstance(model, VLBeit) else getattr(model, "backbone", None)
        if backbone is None:
            name = type(model).__name__
            raise ValueError(f"{folder}: holds a {name}, which has no image encoder")
        resized = replace(backbone.config, image_size=image_size or backbone.config.image_size)
        if isinstance(model, cls):
            config = replace(model.config, backbone=resized)
        elif isinstance(model, Classification):
            config = ImageEncoderConfig(resized, model.config.classes, "avg")
        else:
            config = ImageEncoderConfig(resized, num_classes=0, global_pool="")
        encoder = cls(config)
        encoder.load_state_dict(model.state_dict())
        return encoder.eval()

    @property
    def num_classes(self) -> int:
        """Outputs of the classifier; 0 where there is none."""
        return self.config.num_classes

    @property
    def global_pool(self) -> str:
        """One of POOLS."""
        return self.config.global_pool

    def forward(self, x: Tensor) -> Tensor:
        """Images [batch, 3, size, size] in -1..1 to logits [batch, classes]; without a classifier
        to what `forward_head` hands to one."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Images to [batch, 1 + patches, embed_dim], [I_CLS] first: vectors after the final norm,
        but before it where the head has that norm."""
        last = len(self.backbone.blocks) - 1
        (x,) = self.backbone.image_features(x, [last], self._drop_path_noise(x))
        return self.backbone.norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """What `forward_features` gives to logits or, with `pre_logits`, to [batch, embed_dim];
        vectors that are not pooled keep their dimension."""
        if self.global_pool:
            x = x[:, 1:].mean(dim=1) if self.global_pool == "avg" else x[:, 0]
        x = self.head_drop(self.norm(x))
        return x if pre_logits else self.head(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        return_prefix_tokens: bool = False,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> (
        list[Tensor]
        | list[tuple[Tensor, Tensor]]
        | tuple[Tensor, list[Tensor] | list[tuple[Tensor, Tensor]]]
    ):
        """Maps out of some blocks, and what `forward_features` gives.

        Args:
            x: images [batch, 3, size, size] in -1..1.
            indices: of the blocks, from 0; a number n: the last n; None: all.
            return_prefix_tokens: give [I_CLS] [batch, 1, embed_dim] with each map.
            norm: apply the final norm, where it is not the head's, to the maps.
            stop_early: run no block after the last that is wanted.
            output_fmt: of the maps, "NCHW": [batch, embed_dim, grid, grid]; "NLC": [batch, patches,
                embed_dim].
            intermediates_only: give the maps alone.
        """
        if output_fmt not in ("NCHW", "NLC"):
            raise ValueError(f"output_fmt: expected 'NCHW' or 'NLC', found {output_fmt!r}")
        wanted, last = timm.models._features.feature_take_indices(
            len(self.backbone.blocks), indices
        )
        if not (stop_early or intermediates_only):
            last = len(self.backbone.blocks) - 1
        noise = self._drop_path_noise(x)
        *features, x = self.backbone.image_features(x, [*wanted, last], noise)
        maps: list[Any] = []  # of tensors, or of pairs of tensors
        for tokens in features:
            tokens = self.backbone.norm(tokens) if norm else tokens
            patches = self._as_map(tokens[:, 1:], output_fmt)
            maps.append((patches, tokens[:, :1]) if return_prefix_tokens else patches)
        return maps if intermediates_only else (self.backbone.norm(x), maps)

    def _as_map(self, patches: Tensor, output_fmt: str) -> Tensor:
        """[batch, patches, embed_dim] in the format "NCHW" or "NLC"."""
        if output_fmt == "NLC":
            return patches
        grid = self.backbone.config.grid
        return patches.transpose(1, 2).unflatten(2, (grid, grid)).contiguous()

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the maps of these blocks do not need; returns the blocks' indices."""
        wanted, last = timm.models._features.feature_take_indices(
            len(self.backbone.blocks), indices
        )
        self.backbone.blocks = self.backbone.blocks[: last + 1]
        if prune_head:
            self.reset_classifier(0, "")
        if prune_norm:
            self.backbone.norm = nn.Identity()
        return wanted

    def get_classifier(self) -> nn.Module:
        """The linear layer; the identity where there is none."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """A new classifier (0: none), and another pooling where one is named: the norm moves with
        it."""
        pool = self.global_pool if global_pool is None else global_pool
        self.config = replace(self.config, num_classes=num_classes, global_pool=pool)
        if isinstance(self.norm, nn.LayerNorm) != (pool == "avg"):
            self.norm, self.backbone.norm = self.backbone.norm, self.norm
        if pool == "avg" and not isinstance(self.norm, nn.LayerNorm):  # the backbone had none
            self.norm = self._norm_of_mean()
        self.head = self._classifier(num_classes) if num_classes else nn.Identity()

    def _norm_of_mean(self) -> nn.LayerNorm:
        cls = self.backbone.image_cls
        norm = layer_norm(self.embed_dim, self.config.backbone.norm_eps)
        return norm.to(cls.device, cls.dtype)

    def _classifier(self, classes: int) -> nn.Linear:
        """Initialized as in `Classification`."""
        cls = self.backbone.image_cls
        head = nn.Linear(self.embed_dim, classes, device=cls.device, dtype=cls.dtype)
        init_heads(self.config.backbone.init_std, head)
        head.weight.data.mul_(HEAD_SCALE)
        return head.train(self.training)

    def no_weight_decay(self) -> set[str]:
        """Besides tensors of one dimension (BEiT)."""
        return {"backbone.image_cls", "backbone.image_positions"}

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Layers for layer-wise learning rates (BEiT): embeddings, each block, and head and norms
        together.

        coarse: all blocks as one layer.
        """
        return {
            "stem": r"^backbone\.(?!blocks|norm)",
            "blocks": r"^backbone\.blocks" if coarse else [(r"^backbone\.blocks\.(\d+)", None)],
        }

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """As in `VLBeit`."""
        self.backbone.set_grad_checkpointing(enable)

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> Any:
        """Also the whole weights of any VL-BEiT: timm's `checkpoint_path` comes here with all that
        is in a file."""
        return super().load_state_dict(checkpoint_filter_fn(state_dict, self), strict, assign)

    def _drop_path_noise(self, x: Tensor) -> Tensor | None:
        """Numbers in [0, 1) for stochastic depth, [batch, depth, 3]; None in evaluation."""
        if not self.training or not self.config.backbone.drop_path:
            return None
        return torch.rand(len(x), len(self.backbone.blocks), DROP_PATH_BRANCHES, device=x.device)


def _patch_embed(config: ImageEncoderConfig) -> nn.Conv2d:
    """The projection of patches as `VLBeit` has it, for another number of channels."""
    size = config.backbone.patch_size
    convolution = nn.Conv2d(config.in_chans, config.backbone.embed_dim, size, stride=size)
    init_module(convolution, config.backbone.init_std)
    return convolution


def checkpoint_filter_fn(
    state_dict: Mapping[str, Tensor], model: ImageEncoder
) -> dict[str, Tensor]:
    """Of a VL-BEiT's weights those that its image encoder has, with positions for this encoder's
    grid.

    The norm after the mean is new in a fine-tune: where the weights have none, as after
    pretraining, the model's stays.
    """
    target = model.state_dict()
    with_backbone = any(name.startswith("backbone.") for name in state_dict)
    prefix = "" if with_backbone else "backbone."  # of a `VLBeit` by itself
    fitted = {name: tensor for name, tensor in target.items() if name.startswith("norm.")}
    for name, tensor in state_dict.items():
        name = prefix + name
        if name in target:
            fitted[name] = model.backbone.fitted(name.removeprefix("backbone."), tensor)
    return fitted


_CFG = {
    "url": "",
    "num_classes": 1000,
    "input_size": (3, 224, 224),
    "pool_size": None,
    "fixed_input_size": True,
    "crop_pct": 0.875,
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
    "first_conv": "backbone.patch_embed",
    "classifier": "head",
    "license": "apache-2.0",
}
default_cfgs = timm.models.generate_default_cfgs({"vlbeit_base_patch16_224": _CFG, "vlbeit": _CFG})


def timm_config(config: ImageEncoderConfig, class_names: Sequence[str] = ()) -> dict[str, Any]:
    """What timm looks for in a config.json (`timm.create_model("local-dir:...")`): an encoder of
    this configuration, for images squeezed into squares, as the predictor reads them."""
    size = config.backbone.image_size
    pretrained_cfg = {
        **_CFG,
        "num_classes": config.num_classes,
        "input_size": (config.in_chans, size, size),
        "crop_pct": 1.0,
        "crop_mode": "squash",
    }
    if class_names:
        pretrained_cfg["label_names"] = list(class_names)
    model_args = {"backbone": asdict(config.backbone), "global_pool": config.global_pool}
    return {"architecture": "vlbeit", "model_args": model_args, "pretrained_cfg": pretrained_cfg}


def _encoder(
    img_size: int | tuple[int, int] | None = None,
    num_classes: int = 1000,
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    in_chans: int = 3,
    backbone: Mapping[str, Any] | None = None,
) -> ImageEncoder:
    """With the keywords of timm's models; backbone: fields of a BackboneConfig, by default of the
    base size."""
    config = BASE if backbone is None else BackboneConfig(**backbone)
    size = img_size or config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    if height != width:
        raise ValueError(f"img_size: expected a square, found {height} x {width}")
    config = replace(config, image_size=height, drop_path=drop_path_rate)
    return ImageEncoder(ImageEncoderConfig(config, num_classes, global_pool, drop_rate, in_chans))


@timm.models.register_model
def vlbeit_base_patch16_224(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """VL-BEiT base. Arguments: `img_size`, `num_classes`, `global_pool`, `drop_rate`,
    `drop_path_rate`, `in_chans`, and those of all timm models, such as `features_only` and
    `out_indices`."""
    return _create("vlbeit_base_patch16_224", pretrained, kwargs)


@timm.models.register_model
def vlbeit(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """VL-BEiT of any size, as `timm_config` describes it. Arguments: those of
    `vlbeit_base_patch16_224`, and `backbone`, the fields of a BackboneConfig."""
    return _create("vlbeit", pretrained, kwargs)


def _create(name: str, pretrained: bool, kwargs: dict[str, Any]) -> nn.Module:
    features = {"out_indices": 3, "feature_cls": "getter"}
    return timm.models.build_model_with_cfg(
        _encoder,
        name,
        pretrained,
        feature_cfg=features,
        pretrained_filter_fn=checkpoint_filter_fn,
        **kwargs,
    )

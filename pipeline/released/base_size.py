"""The base size, which all released models have that can be imported."""

from model.backbone.config import BackboneConfig

# Without texts; the image size is the file's.
BASE = BackboneConfig(
    image_size=224,
    patch_size=16,
    depth=12,
    embed_dim=768,
    num_heads=12,
    mlp_dim=3072,
    vocab_size=0,
    text_length=1,
    experts="mome",
    init_std=0.02,
    drop_path=0.0,
)

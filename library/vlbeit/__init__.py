"""VL-BEiT models in use: `predictor.load` gives a model that answers, `from_pretrained` its network.

The image encoder is registered with timm.
"""

from vlbeit.model import timm_encoder as timm_encoder
from vlbeit.model.checkpoint import load as from_pretrained
from vlbeit.pipeline.errors import UserError
from vlbeit.pipeline.inference import graphs, predictor
from vlbeit.pipeline.utils.model_folder import push_to_hub

__all__ = ["UserError", "from_pretrained", "graphs", "predictor", "push_to_hub"]

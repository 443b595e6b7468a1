"""Networks of the downstream tasks, one module each (VL-BEiT §3.2, §3.3). Imports
`model.backbone`."""

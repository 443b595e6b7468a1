"""A local page to try the trained models on: `python -m pipeline.demo [PORT]`, or `make demo`.

One module per tab has what its callbacks compute, as functions that need no Gradio, and a function
`build` that makes the tab of it. `models` and `examples` read what a run has left; `inputs` checks
what people hand in; `page` has the parts that tabs share; `server` puts all together.

Gradio is the dependency group `demo`, and only functions that build the page import it.
"""

"""The machinery around `model`, in packages by subject. A package imports only those below it:

planning, inference > tasks, pretraining > tokenizers > training > data > tracking, reporting,
orchestration > utils > config > errors. `import-linter` keeps it so (pyproject.toml).
"""

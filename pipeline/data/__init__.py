"""From official files to the samples of a training step. Imports `tracking`, `reporting`,
`orchestration` and below."""

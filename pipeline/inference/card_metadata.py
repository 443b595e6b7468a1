"""The metadata of a model card, which the Hugging Face hub reads: what the model is for, on which
data it was trained, and its scores."""

from collections.abc import Iterator

from huggingface_hub import EvalResult, ModelCardData

# By the model's class; the hub has no tag for NLVR2.
PIPELINE_TAGS = {
    "Classification": "image-classification",
    "MaskedModeling": "feature-extraction",
    "Retrieval": "zero-shot-image-classification",
    "Segmentation": "image-segmentation",
    "VQA": "visual-question-answering",
}
# The hub's names of metrics, by those of results; others stay.
METRICS = {
    **dict.fromkeys(("acc1", "accuracy", "dev", "test_p", "test_dev", "test_std"), "accuracy"),
    "miou": "mean_iou",
}


def metadata(
    model: str,
    name: str,
    *,
    license: str,
    language: str | None,
    datasets: list[str],
    evaluated_on: str,
    scores: dict[str, float],
) -> str:
    """YAML.

    Args:
        model: class of the model.
        name: of the model.
        license: as the hub abbreviates it.
        language: of the texts that it reads, if it reads any.
        datasets: that it was trained on.
        evaluated_on: name of the data set that the scores are of.
        scores: by their names in results.
    """
    task = PIPELINE_TAGS.get(model)
    return ModelCardData(
        license=license,
        language=language,
        library_name="vlbeit",
        pipeline_tag=task,
        datasets=datasets or None,
        tags=["vl-beit", "arxiv:2206.01127"],
        model_name=name,
        eval_results=list(_results(task or model.lower(), evaluated_on, scores)) or None,
    ).to_yaml()


def _results(task: str, data: str, scores: dict[str, float]) -> Iterator[EvalResult]:
    for name, value in scores.items():
        yield EvalResult(
            task_type=task,
            dataset_type=data,
            dataset_name=data,
            metric_type=METRICS.get(name, name),
            metric_name=name,
            metric_value=round(value, 4),
        )

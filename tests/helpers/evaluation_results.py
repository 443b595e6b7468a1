"""Results of evaluations, as the stage writes them."""

RECALLS = {f"{way}_r{cut}": cut / 16 for way in ("tr", "ir") for cut in (1, 5, 10)}


def of_released(task, data, file, origin="upstream", **result):
    """Of released weights; `origin`: synthetic for made-up ones."""
    family = file.partition("_")[0]
    released = {"family": family, "task": task, "file": file, "sha256": "0123456789abcdef" * 4}
    return {
        "task": task,
        "data": data,
        "variant": family,
        "inputs": {"image_size": 384},
        "released": {**released, "origin": origin},
        "headline": {"score": 0.5},
        **result,
    }


def retrieval(file, origin="upstream", *, tr=0.7478, ir=0.5731, data="coco-test"):
    """R@1 both ways by the dual encoder alone."""
    return of_released(
        "retrieval",
        data,
        file,
        origin,
        headline={"tr_r1": tr, "ir_r1": ir, "score": (tr + ir) / 2},
        images=5000,
        captions=25010,
        dual={**RECALLS, "tr_r1": tr, "ir_r1": ir},
        chance=RECALLS,
    )


def vqa(file, origin="upstream", *, test_dev=None):
    """Without the server's scores `test_dev` is None, as is what needs test answers."""
    return of_released(
        "vqa",
        "vqav2-test",
        file,
        origin,
        headline={"score": 0.86},
        questions=447_793,
        test_dev=test_dev,
        test_std=None,
        validation=0.86,
    )


def nlvr2(file, origin="upstream"):
    """Accuracy on both splits."""
    return of_released(
        "nlvr2",
        "nlvr2-test",
        file,
        origin,
        headline={"dev": 0.83, "test_p": 0.84, "score": 0.84},
        examples={"dev": 6982, "test_p": 6967},
        dev={"accuracy": 0.83},
        test_p={"accuracy": 0.84},
    )


def classification(file, origin="upstream"):
    """Accuracy on ImageNet-1k."""
    scores = {"acc1": 0.8521, "acc5": 0.976}
    headline = {**scores, "score": 0.8521}
    return of_released(
        "classification",
        "imagenet1k-test",
        file,
        origin,
        headline=headline,
        images=50_000,
        **scores,
    )


def segmentation(file, origin="upstream"):
    """mIoU on ADE20K."""
    scores = {"miou": 0.5361, "pixel_accuracy": 0.8462}
    headline = {**scores, "score": 0.5361}
    return of_released(
        "segmentation", "ade20k-test", file, origin, headline=headline, images=2000, **scores
    )

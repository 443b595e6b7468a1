"""How far a share of right answers may be from the one of a much larger test set."""

from torch import Tensor


def clustered(right: Tensor, clusters: Tensor) -> float:
    """The standard error of a share of right answers, a share in 0..1.

    Answers of one cluster, such as those to an image's five captions, are no independent draws, so the
    clusters are what is drawn (Liang and Zeger, "Longitudinal data analysis using generalized linear
    models", 1986). With clusters of one answer it is the root of p (1 - p) / n.

    Args:
        right: bool [answers].
        clusters: int64 [answers], the number of each answer's cluster, 0 or more.
    """
    share = right.double()
    residuals = share - share.mean()
    sums = residuals.new_zeros(int(clusters.max()) + 1).index_add_(0, clusters, residuals)
    return sums.norm().item() / len(right)

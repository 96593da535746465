"""Statistics on arrays: pure functions in float64, random only through a Generator that is handed in."""

from unmask.stats.agreement import (
    accuracy,
    cohen_kappa,
    confusion_matrix,
    correct_by_confusion,
    invert_confusion,
)
from unmask.stats.bootstrap import (
    bootstrap_weights,
    carried_on,
    cluster_interval,
    cluster_weights,
    difference_interval,
    leave_one_out_weights,
    log_ratio_of_sd_interval,
    mean_interval,
    n_clusters,
    small_steps,
    weighted_mean,
    weighted_nanmean,
    weighted_sd,
    weighted_slope,
)
from unmask.stats.covariance import ShrunkCovariance, ledoit_wolf
from unmask.stats.equivalence import Equivalence, tost_bootstrap, tost_t
from unmask.stats.intervals import (
    Interval,
    basic_interval,
    bca_interval,
    percentile_interval,
    rate_interval,
    ratio_interval,
    ratio_replicates,
)
from unmask.stats.multiplicity import benjamini_hochberg, holm, holm_level
from unmask.stats.nested import NestedAuc, group_folds, nested_layer_auc
from unmask.stats.nulls import Null, matched_directions, max_null, permutation_p, permuted_labels, swap_signs
from unmask.stats.probes import class_contrasts, direction, probe_scores, standardise
from unmask.stats.ranks import auc, average_ranks, spearman
from unmask.stats.similarity import cosine, linear_cka_debiased, mahalanobis_cosine
from unmask.stats.spread import Separation, SpreadTest, brown_forsythe, separation
from unmask.stats.words import word_counts

__all__ = [
    "Equivalence",
    "Interval",
    "NestedAuc",
    "Null",
    "Separation",
    "ShrunkCovariance",
    "SpreadTest",
    "accuracy",
    "auc",
    "average_ranks",
    "basic_interval",
    "bca_interval",
    "benjamini_hochberg",
    "bootstrap_weights",
    "brown_forsythe",
    "carried_on",
    "class_contrasts",
    "cluster_interval",
    "cluster_weights",
    "cohen_kappa",
    "confusion_matrix",
    "correct_by_confusion",
    "cosine",
    "difference_interval",
    "direction",
    "group_folds",
    "holm",
    "holm_level",
    "invert_confusion",
    "leave_one_out_weights",
    "ledoit_wolf",
    "linear_cka_debiased",
    "log_ratio_of_sd_interval",
    "mahalanobis_cosine",
    "matched_directions",
    "max_null",
    "mean_interval",
    "n_clusters",
    "nested_layer_auc",
    "percentile_interval",
    "permutation_p",
    "permuted_labels",
    "probe_scores",
    "rate_interval",
    "ratio_interval",
    "ratio_replicates",
    "separation",
    "small_steps",
    "spearman",
    "standardise",
    "swap_signs",
    "tost_bootstrap",
    "tost_t",
    "weighted_mean",
    "weighted_nanmean",
    "weighted_sd",
    "weighted_slope",
    "word_counts",
]

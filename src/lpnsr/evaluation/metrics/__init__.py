"""Metrics of images: ``metrics_for(["psnr", "niqe"])`` -> things to call on images."""

from lpnsr.evaluation.metrics.registry import (
    DEFAULT_METRICS,
    METRICS,
    Metric,
    available_metrics,
    metrics_for,
    training_loss_marked,
)

__all__ = ["DEFAULT_METRICS", "METRICS", "Metric", "available_metrics", "metrics_for", "training_loss_marked"]

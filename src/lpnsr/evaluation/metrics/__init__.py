"""Metrics of images: ``metrics_for(["psnr", "niqe"])`` -> callables on images."""

from lpnsr.evaluation.errors import MetricUnavailable, UnscorableImage
from lpnsr.evaluation.metrics.registry import DEFAULT_METRICS, METRICS, Metric, available_metrics, metrics_for

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "Metric",
    "MetricUnavailable",
    "UnscorableImage",
    "available_metrics",
    "metrics_for",
]

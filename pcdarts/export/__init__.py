"""A trained network as files that need no study, and its accuracy: weights, cells, a model card, optionally ONNX."""

from pcdarts.export.accuracy import Accuracy, measure_accuracy
from pcdarts.export.folder import export_network, load_exported, network_from_weights
from pcdarts.export.model_card import model_card
from pcdarts.export.onnx_file import export_onnx

__all__ = [
    "Accuracy",
    "export_network",
    "export_onnx",
    "load_exported",
    "model_card",
    "network_from_weights",
    "measure_accuracy",
]

"""The model card: tables for people, metadata for the hub."""

import pytest
import yaml

from pcdarts.export import model_card
from pcdarts.genotype import PUBLISHED


def card(**values):
    given = {
        "name": "demo",
        "results": {"test_accuracy": 97.4321098, "network_macs": 528_359_040, "top5": None},
        "recipe": {"seed": 3, "dataset": "a|b"},
        "images": {"classes, by logit": "cat, dog"},
        "origin": {"torch_version": "2.9"},
    }
    return model_card(PUBLISHED["DARTS_V2"], **given | values)


def test_the_card_says_what_it_is_told():
    text = card()
    for line in (
        "# demo",
        "| classes, by logit | cat, dog |",
        "| test_accuracy | 97.4321 |",
        "| network_macs | 528,359,040 |",
        "| seed | 3 |",
        "print(network.labels[logits.argmax()])",
    ):
        assert line in text.splitlines()
    assert "top5" not in text and "a\\|b" in text and str(PUBLISHED["DARTS_V2"]) in text
    assert "normalized as in training" in card(images={})


def test_the_metadata_are_those_of_the_hub():
    _, metadata, _ = card().split("---\n", 2)
    (entry,) = yaml.safe_load(metadata)["model-index"]
    (result,) = entry["results"]
    assert result["dataset"] == {"name": "a|b", "type": "a|b", "split": "test"}
    assert result["metrics"] == [{"type": "accuracy", "value": 0.974321, "name": "test accuracy"}]


def test_the_hub_reads_the_metadata():
    hub = pytest.importorskip("huggingface_hub", reason="needs the extra hub: pip install -e '.[hub]'")
    read = hub.ModelCard(card(results={"test_accuracy": 97.0, "ema_test_accuracy": 98.0}))
    assert read.data.library_name == "pcdarts" and read.data.pipeline_tag == "image-classification"
    assert [(each.metric_type, each.metric_value) for each in read.data.eval_results] == [
        ("accuracy", 0.97),
        ("accuracy", 0.98),
    ]
    assert read.data.model_name == "demo" and read.text.lstrip().startswith("# demo")

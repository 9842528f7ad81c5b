"""transformers' common tests of models, configs and backbones."""

import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from checkpoints import tiny_box_detector, tiny_mask_detector, tiny_model
from small.test_nanodet_masks import tiny_config as tiny_masks_config
from tests.test_backbone_common import BackboneTesterMixin
from tests.test_configuration_common import ConfigTester
from tests.test_modeling_common import ModelTesterMixin
from transformers import PreTrainedConfig

from pbrec_hf import (
    FcosConfig,
    FcosDetector,
    NanoDetDetector,
    PbrecForReferringExpression,
    PbrecImageFeatures,
    PbrecModel,
    SoloDetector,
)
from pbrec_hf.hub.loading import StrictModel
from pbrec_hf.small.backbone import GroundingBackbone, GroundingBackboneConfig
from pbrec_hf.small.nanodet_masks import NanoDetMasksDetector
from pbrec_hf.small.nanodet_trunk import NanoDetBackbone
from tests import test_modeling_common


class Facts:
    """What the common tests ask about a model: its tiny config, and inputs."""

    batch_size = 2
    is_training = False  # only PBREC has a loss
    image_size = 64

    def __init__(self, config: PreTrainedConfig):
        self.config = config

    def get_config(self) -> PreTrainedConfig:
        return type(self.config).from_dict(self.config.to_dict())

    def prepare_config_and_inputs_for_common(self) -> tuple[PreTrainedConfig, dict[str, Any]]:
        return self.get_config(), self.inputs()

    prepare_config_and_inputs = prepare_config_and_inputs_for_common

    def inputs(self) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(0)
        return {"pixel_values": torch.randn(self.batch_size, 3, self.image_size, self.image_size, generator=generator)}


class PbrecFacts(Facts):
    is_training = True
    image_size = 128
    seq_length = 6
    num_hidden_layers = 2
    hidden_size = 16
    num_attention_heads = 2
    encoder_seq_length = key_length = 4 * 4 + seq_length

    def text(self) -> dict[str, torch.Tensor]:
        attention_mask = torch.ones(self.batch_size, self.seq_length, dtype=torch.long)
        attention_mask[1, 4:] = 0
        generator = torch.Generator().manual_seed(1)
        words = self.config.text_config.vocab_size
        return {
            "input_ids": torch.randint(5, words, (self.batch_size, self.seq_length), generator=generator),
            "attention_mask": attention_mask,
        }

    def inputs(self) -> dict[str, Any]:
        return super().inputs() | self.text()


class PbrecBaseFacts(PbrecFacts):
    is_training = False  # it has no loss

    def inputs(self) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(2)
        shape = (self.batch_size, 4 * 4, self.hidden_size)
        features, positions = (torch.randn(shape, generator=generator) for _ in range(2))
        mask = torch.ones(shape[:2], dtype=torch.bool)
        return self.text() | {"image_features": PbrecImageFeatures(features, positions, mask)}


class TrunkFacts(Facts):
    """The first hidden state is a map of 8 × 8 points."""

    num_hidden_layers = 2
    seq_length = hidden_size = 8


class MapFacts(Facts):
    """The only hidden state is a map of 2 × 2 points."""

    num_hidden_layers = 0
    seq_length = hidden_size = 2


def tiny_pbrec() -> PreTrainedConfig:
    """Some tests take words out of the vocabulary, so it is larger than the tokenizer's."""
    config = tiny_model().config
    config.text_config.vocab_size = 40
    return config


@contextmanager
def partial_loading() -> Iterator[None]:
    """Load what a checkpoint has, as transformers does; here that has to be asked for with `strict=False`."""
    with mock.patch.dict(StrictModel.from_pretrained.__func__.__kwdefaults__, strict=False):
        yield


def with_large_eps(config: PreTrainedConfig) -> None:
    """As the function of this purpose in transformers, which sets fields that a config does not have, too."""
    for part in (config, getattr(config, "text_config", None)):
        if hasattr(part, "layer_norm_eps"):
            part.layer_norm_eps = 1.0


class Common(ModelTesterMixin):
    """Of every model; a subclass gives `tiny`, its config, and `all_model_classes`."""

    has_attentions = False
    test_resize_embeddings = False
    test_can_init_all_missing_weights_before_2023 = True
    facts: type[Facts] = Facts
    common_properties: tuple[str, ...] = ()
    has_text_modality = False

    def tiny(self) -> PreTrainedConfig:
        raise NotImplementedError

    def setUp(self) -> None:
        self.model_tester = self.facts(self.tiny())
        self.config_tester = ConfigTester(
            self,
            config_class=type(self.model_tester.config),
            has_text_modality=self.has_text_modality,
            common_properties=list(self.common_properties),
        )

        eps = mock.patch.object(test_modeling_common, "set_config_for_less_flaky_test", with_large_eps)
        eps.start()
        self.addCleanup(eps.stop)

    def test_config(self) -> None:
        self.config_tester.run_common_tests()

    def test_can_init_all_missing_weights(self) -> None:
        with partial_loading():
            super().test_can_init_all_missing_weights()

    def test_correct_missing_keys(self) -> None:
        with partial_loading():
            super().test_correct_missing_keys()

    def test_model_weights_reload_no_missing_tied_weights(self) -> None:
        with partial_loading():
            super().test_model_weights_reload_no_missing_tied_weights()


class TestPbrecForReferringExpression(Common, unittest.TestCase):
    all_model_classes = (PbrecForReferringExpression,)
    has_attentions = True
    test_resize_embeddings = True
    _is_composite = True
    additional_model_inputs = ["input_ids", "attention_mask"]
    facts = PbrecFacts
    common_properties = ("hidden_size", "num_attention_heads", "num_hidden_layers")

    def tiny(self) -> PreTrainedConfig:
        return tiny_pbrec()

    def _prepare_for_class(self, inputs: dict, model_class: type, return_labels: bool = False) -> dict:
        inputs = super()._prepare_for_class(inputs, model_class, return_labels=return_labels)
        if return_labels:
            labels = torch.rand(self.model_tester.batch_size, 4 * 4, generator=torch.Generator().manual_seed(3))
            inputs |= {"centerness_labels": labels, "massness_labels": labels}
        return inputs


class TestPbrecModel(Common, unittest.TestCase):
    all_model_classes = (PbrecModel,)
    has_attentions = True
    test_resize_embeddings = True
    _is_composite = True
    facts = PbrecBaseFacts

    def tiny(self) -> PreTrainedConfig:
        return tiny_pbrec()


class TestFcos(Common, unittest.TestCase):
    all_model_classes = (FcosDetector,)

    def tiny(self) -> PreTrainedConfig:
        return FcosConfig(depth=18, neck_channels=32, tower_depth=1)


class TestSolo(Common, unittest.TestCase):
    all_model_classes = (SoloDetector,)

    def tiny(self) -> PreTrainedConfig:
        return tiny_mask_detector().config


class TestNanoDet(Common, unittest.TestCase):
    all_model_classes = (NanoDetDetector,)

    def tiny(self) -> PreTrainedConfig:
        return tiny_box_detector().config


class TestNanoDetMasks(Common, unittest.TestCase):
    all_model_classes = (NanoDetMasksDetector,)

    def tiny(self) -> PreTrainedConfig:
        return tiny_masks_config()


class TestNanoDetBackbone(BackboneTesterMixin, Common, unittest.TestCase):
    all_model_classes = (NanoDetBackbone,)
    has_attentions = False
    facts = TrunkFacts

    @property
    def config_class(self) -> type:
        return type(self.model_tester.config)

    def tiny(self) -> PreTrainedConfig:
        return tiny_box_detector().config.trunk_config


class TestGroundingBackbone(BackboneTesterMixin, Common, unittest.TestCase):
    all_model_classes = (GroundingBackbone,)
    has_attentions = False
    facts = MapFacts

    @property
    def config_class(self) -> type:
        return type(self.model_tester.config)

    def tiny(self) -> PreTrainedConfig:
        return GroundingBackboneConfig(detector_config=tiny_box_detector().config)

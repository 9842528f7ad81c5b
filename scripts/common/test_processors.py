"""transformers' common tests of processors and image processors."""

import unittest
from typing import Any

from checkpoints import tiny_box_detector, tiny_processor
from tests.test_image_processing_common import ImageProcessingTester, ImageProcessingTestMixin
from tests.test_processing_common import ProcessorTesterMixin

from pbrec_hf import PbrecImageProcessor, PbrecProcessor


class TestPbrecProcessor(ProcessorTesterMixin, unittest.TestCase):
    processor_class = PbrecProcessor

    @classmethod
    def _setup_image_processor(cls) -> Any:
        return tiny_processor().image_processor

    @classmethod
    def _setup_tokenizer(cls) -> Any:
        return tiny_processor().tokenizer


class TestPbrecProcessorWithDetector(TestPbrecProcessor):
    @classmethod
    def _setup_from_components(cls) -> PbrecProcessor:
        return tiny_processor(box_detector=tiny_box_detector())


class PbrecImageProcessingTester(ImageProcessingTester):
    def __init__(self, parent: Any):
        super().__init__(parent, size={"longest_edge": 128}, max_resolution=200)

    def _get_image_processing_classes(self) -> dict[str, type]:
        return {"torchvision": PbrecImageProcessor}

    def expected_output_image_shape(self, images: list[Any]) -> tuple[int, ...]:
        return self.num_channels, 128, 128


class TestPbrecImageProcessor(ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = PbrecImageProcessingTester

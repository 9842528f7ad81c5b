"""Makes transformers' Auto classes and `pipeline` know this package.

`register` enters the classes. For that it imports the Auto classes and the pipelines, which takes longer than all the
rest: `import transformers, torch, pbrec_hf` with a plain `register()` took 9.2 to 10.0 s where `import transformers,
torch` took 3.6 to 4.9 s, and with the hook below 3.6 to 3.7 s (three runs each). Whoever uses an Auto class or a
pipeline imports them anyway. So `watch` lets `register` run as soon as transformers' registry of configs is loaded
and nothing of transformers or of this package is half imported any more; at once, if that has happened already.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_PACKAGE = __package__.partition(".")[0]
_REGISTRY = "transformers.models.auto.configuration_auto"


def register() -> None:
    """Enter every class into the Auto classes, and the task into the pipelines. May be called again."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor
    from transformers.pipelines import PIPELINE_REGISTRY

    from ..configuration_pbrec import PbrecConfig
    from ..detectors.base import register_detector
    from ..detectors.fcos import FcosDetector
    from ..detectors.open_vocabulary import OpenVocabularyDetector
    from ..detectors.pretrained import PretrainedDetector
    from ..detectors.prompted_masks import PromptedMasks
    from ..detectors.references import register_library, register_maker
    from ..detectors.solo import SoloDetector
    from ..detectors.torchvision_models import TorchvisionDetector, torchvision_detector
    from ..image_processing_pbrec import PbrecImageProcessor
    from ..modeling_pbrec import PbrecForReferringExpression, PbrecModel
    from ..pipeline_pbrec import ReferringExpressionPipeline
    from ..processing_pbrec import PbrecProcessor
    from ..small.registration import register_small
    from .bundled import bundled_checkpoint

    register_small()
    wrappers = (OpenVocabularyDetector, PretrainedDetector, PromptedMasks)
    for detector in (FcosDetector, SoloDetector, TorchvisionDetector, *wrappers):
        register_detector(detector)
    for wrapper in wrappers:
        register_maker(wrapper.serves, wrapper.wrap)
    register_library("torchvision", torchvision_detector)
    AutoConfig.register(PbrecConfig.model_type, PbrecConfig, exist_ok=True)
    # `architectures` in a config decides between the two; the first is the default.
    AutoModel.register(PbrecConfig, (PbrecForReferringExpression, PbrecModel), exist_ok=True)
    AutoImageProcessor.register(
        PbrecConfig, image_processor_classes={"torchvision": PbrecImageProcessor}, exist_ok=True
    )
    AutoProcessor.register(PbrecConfig, PbrecProcessor, exist_ok=True)
    if "referring-expression" not in PIPELINE_REGISTRY.get_supported_tasks():
        PIPELINE_REGISTRY.register_pipeline(
            "referring-expression",
            pipeline_class=ReferringExpressionPipeline,
            pt_model=AutoModel,
            default={"model": (bundled_checkpoint(), "main")},
            type="multimodal",
        )


def watch() -> None:
    """Call `register` now, if transformers' registries are loaded, or as soon as they are."""
    if _REGISTRY in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _Watcher())


class _Watcher(MetaPathFinder):
    """Counts how many imports of transformers' and our modules are under way; registers when the outermost ends."""

    def __init__(self) -> None:
        self.under_way = 0

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(("transformers.", f"{_PACKAGE}.")):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            execute = functools.partial(self._execute, spec.loader.exec_module)
            spec.loader.exec_module = execute  # type: ignore[method-assign]
        return spec

    def _execute(self, execute: Callable[[ModuleType], None], module: ModuleType) -> None:
        self.under_way += 1
        try:
            execute(module)
        finally:
            self.under_way -= 1
        if self.under_way == 0 and _REGISTRY in sys.modules and self in sys.meta_path:
            sys.meta_path.remove(self)
            register()

"""Makes transformers' Auto classes and `pipeline` know this package, without importing them.

The Auto classes, torchvision and the pipelines take longer to import than the rest together: `import pbrec_hf` leaves
them alone. `watch` registers as soon as transformers itself has loaded its registry of configs, which every Auto class
and every pipeline needs first; at once, if that has happened already.
"""

import functools
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_REGISTRY = "transformers.models.auto.configuration_auto"


def register() -> None:
    """Enter every class into the Auto classes, and the task into the pipelines. May be called again."""
    from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor
    from transformers.pipelines import PIPELINE_REGISTRY

    from .backbones_pbrec import register_backbones
    from .configuration_pbrec import PbrecConfig
    from .detection_fcos import FcosDetector
    from .detection_nanodet import NanoDetDetector
    from .detection_nanodet_masks import NanoDetMasksDetector
    from .detection_solo import SoloDetector
    from .image_processing_pbrec import PbrecImageProcessor
    from .modeling_pbrec import PbrecForReferringExpression
    from .pipeline_pbrec import ReferringExpressionPipeline
    from .processing_pbrec import PbrecProcessor

    for model in (PbrecForReferringExpression, FcosDetector, NanoDetDetector, NanoDetMasksDetector, SoloDetector):
        AutoConfig.register(model.config_class.model_type, model.config_class, exist_ok=True)
        AutoModel.register(model.config_class, model, exist_ok=True)
    register_backbones()
    processors = {"torchvision": PbrecImageProcessor}
    AutoImageProcessor.register(PbrecConfig, image_processor_classes=processors, exist_ok=True)
    AutoProcessor.register(PbrecConfig, PbrecProcessor, exist_ok=True)
    if "referring-expression" not in PIPELINE_REGISTRY.get_supported_tasks():
        PIPELINE_REGISTRY.register_pipeline(
            "referring-expression",
            pipeline_class=ReferringExpressionPipeline,
            pt_model=AutoModel,
            type="multimodal",
        )


def watch() -> None:
    """Call `register` once the registries are there and nothing of transformers or ours is half imported."""
    if _REGISTRY in sys.modules:
        register()
    else:
        sys.meta_path.insert(0, _Watcher())


class _Watcher(MetaPathFinder):
    """Counts how many imports of transformers' and our modules are under way; registers when the outermost ends."""

    def __init__(self):
        self.under_way = 0

    def find_spec(self, name: str, path=None, target: ModuleType | None = None) -> ModuleSpec | None:
        if not name.startswith(("transformers.", f"{__package__}.")):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            spec.loader.exec_module = functools.partial(self._execute, spec.loader.exec_module)
        return spec

    def _execute(self, execute, module: ModuleType) -> None:
        self.under_way += 1
        try:
            execute(module)
        finally:
            self.under_way -= 1
        if self.under_way == 0 and _REGISTRY in sys.modules and self in sys.meta_path:
            sys.meta_path.remove(self)
            register()

"""
The common tests that do not apply to a class of this package, each with the reason.

Left out as a whole: the tests of pipelines, which know transformers' own tasks alone and take their models from the
Hub; and what no source distribution has, the tests of export and of generation. Tests that skip themselves say why.
"""

DETECTORS = ("Fcos", "Solo", "NanoDet", "NanoDetMasks")
BACKBONES = ("NanoDetBackbone", "GroundingBackbone")
PBREC = ("PbrecForReferringExpression", "PbrecModel")
PROCESSORS = ("PbrecProcessor", "PbrecProcessorWithDetector")


def _because(reason: str, classes: tuple[str, ...], *tests: str) -> dict[tuple[str, str], str]:
    return {(name, f"test_{test}"): reason for name in classes for test in tests}


# (class, test; * stands for any number of letters) → reason
INAPPLICABLE = {
    **_because(
        "it sets a field that the config does not have, which loading refuses; no weights are tied",
        (*PBREC, *DETECTORS),
        "load_save_without_tied_weights",
    ),
    **_because(
        "`get_image_features` gives everything that `forward` takes for an image, not the states of a vision tower",
        PBREC,
        "get_image_features_attentions",
        "get_image_features_hidden_states",
        "get_image_features_output_*",
    ),
    **_because(
        "it subtracts all outputs from each other, and the mask of `image_features` is bool",
        ("PbrecForReferringExpression",),
        "model_outputs_equivalence",
    ),
    **_because(
        "it makes up inputs that are single tensors; `image_features` holds several",
        ("PbrecModel",),
        "batching_equivalence",
        "eager_matches_sdpa_inference_*",
    ),
    **_because(
        "detectors return what proposals are made of, and no hidden states",
        DETECTORS,
        "hidden_states_output",
        "retain_grad_hidden_states_attentions",
    ),
    **_because("a convolutional network embeds no tokens", (*DETECTORS, *BACKBONES), "model_get_set_embeddings"),
    **_because("the smallest trunk is torchvision's ResNet-18, with 11 million weights", ("Fcos",), "model_is_small"),
    **_because("its classes are those of `detector_config`; `num_labels` is refused", ("NanoDetMasks",), "config"),
    **_because(
        "its maps are named after their strides, not stem and stage1 to stage4",
        BACKBONES,
        "config",
        "config_save_pretrained",
    ),
    **_because("it has a single map", ("GroundingBackbone",), "backbone_stage_selection"),
    **_because("its first output is a tuple of maps", BACKBONES, "retain_grad_hidden_states_attentions"),
    **_because(
        "`expressions` are strings, and proposals a class of their own",
        PROCESSORS,
        "flat_kwarg_applied_when_modality_dict_lacks_it",
    ),
    **_because(
        "a picture has many expressions, not an expression many pictures: lists of lists of pictures are refused",
        PROCESSORS,
        "processor_text_has_no_visual",
    ),
    **_because(
        "the processor's `max_text_length`, not a default of the tokenizer, says how many tokens are read",
        PROCESSORS,
        "subprocessor_defaults_preserved_by_kwargs_0_images",
    ),
    **_because(
        "the components that it puts together leave the detector out",
        ("PbrecProcessorWithDetector",),
        "processor_from_pretrained_vs_from_components",
    ),
    **_because("pictures of four channels become RGB", ("PbrecImageProcessor",), "call_numpy_4_channels"),
}

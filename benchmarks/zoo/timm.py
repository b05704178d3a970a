"""Networks of timm with random weights, one or more of a family, on small inputs."""

from __future__ import annotations

import torch

from benchmarks.zoo.trial import Build, Trial, classifier

NAMES = (
    "cait_xxs24_224",
    "coat_lite_tiny",
    "convit_tiny",
    "convmixer_768_32",
    "convnext_atto",
    "crossvit_tiny_240",
    "deit_tiny_patch16_224",
    "dla46_c",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientnet_lite0",
    "efficientvit_b0",
    "efficientvit_m0",
    "eva02_tiny_patch14_224",
    "fastvit_t8",
    "gcvit_xxtiny",
    "ghostnet_050",
    "hardcorenas_a",
    "hgnetv2_b0",
    "inception_next_atto",
    "lcnet_035",
    "levit_128s",
    "mambaout_femto",
    "mixer_s32_224",
    "mobilenetv3_small_050",
    "mobileone_s0",
    "mobilevit_xxs",
    "nf_regnet_b0",
    "pit_ti_224",
    "poolformerv2_s12",
    "pvt_v2_b0",
    "regnetx_002",
    "repghostnet_050",
    "repvgg_a0",
    "repvit_m0_9",
    "resnet10t",
    "resnetv2_18",
    "rexnet_100",
    "selecsls42",
    "shvit_s1",
    "skresnet18",
    "starnet_s050",
    "swiftformer_xs",
    "tiny_vit_5m_224",
    "tinynet_e",
    "vit_tiny_patch16_224",
    "vit_relpos_small_patch16_224",
    "xcit_nano_12_p16_224",
)


def cases() -> dict[str, Build]:
    """Return a trial for each network."""
    return {name: lambda name=name: trial(name) for name in NAMES}  # type: ignore[misc]


def trial(name: str) -> Trial:
    """Return a trial of a network, at 64 x 64 pixels if it takes them."""
    import timm

    try:
        model, size = timm.create_model(name, num_classes=3, img_size=64).eval(), 64
        with torch.no_grad():
            model(torch.zeros(1, 3, size, size))
    except (TypeError, RuntimeError, AssertionError, ValueError):
        torch.manual_seed(0)
        model = timm.create_model(name, num_classes=3).eval()
        fixed = "fixed_input_size" in model.default_cfg and model.default_cfg["fixed_input_size"]
        size = model.default_cfg["input_size"][-1] if fixed else 64
    return classifier(model, torch.randn(2, 3, size, size), 3)

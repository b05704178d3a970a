"""Small configurations of transformers with random weights; the loss is the one that the model computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.zoo.trial import Build, Trial, own_loss

VOCABULARY, LENGTH, ROWS = 61, 10, 4
TINY: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
    "num_labels": 3,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "image_size": 32,
    "patch_size": 8,
    "num_channels": 3,
    "num_labels": 3,
}
ENCODERS: dict[str, dict[str, Any]] = {
    "Albert": {"embedding_size": 8},
    "BigBird": {"attention_type": "original_full"},
    "Bert": {},
    "Camembert": {},
    "ConvBert": {"embedding_size": 16},
    "DebertaV2": {},
    "DistilBert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "Electra": {"embedding_size": 8},
    "Ernie": {},
    "FNet": {},
    "Longformer": {"attention_window": 4},
    "MegatronBert": {},
    "ModernBert": {},
    "MPNet": {},
    "Nystromformer": {"num_landmarks": 5, "segment_means_seq_len": 10},
    "RemBert": {"input_embedding_size": 8, "output_embedding_size": 8},
    "Roberta": {},
    "RoFormer": {"embedding_size": 16},
    "SqueezeBert": {
        "embedding_size": 16,
        "q_groups": 1,
        "k_groups": 1,
        "v_groups": 1,
        "post_attention_groups": 1,
        "intermediate_groups": 1,
        "output_groups": 1,
    },
    "XLMRoberta": {},
}
DECODERS: dict[str, dict[str, Any]] = {
    "Bloom": {"n_layer": 2, "n_head": 2},
    "CodeGen": {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 40, "rotary_dim": 4},
    "Falcon": {},
    "Gemma": {"num_key_value_heads": 1, "head_dim": 8},
    "Gemma2": {"num_key_value_heads": 1, "head_dim": 8},
    "GPT2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40},
    "GPTJ": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 40, "rotary_dim": 4},
    "GPTNeo": {"num_layers": 2, "num_decoder_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]},
    "GPTNeoX": {},
    "Llama": {},
    "Mamba": {"state_size": 4},
    "Mamba2": {"num_heads": 4, "head_dim": 8, "state_size": 4, "n_groups": 1, "chunk_size": 8},
    "Mistral": {"num_key_value_heads": 2},
    "Mixtral": {"num_key_value_heads": 2, "num_local_experts": 4},
    "Olmo": {},
    "Olmoe": {"num_experts": 4, "num_experts_per_tok": 2},
    "OPT": {"ffn_dim": 24, "word_embed_proj_dim": 16},
    "Phi": {},
    "Qwen2": {"num_key_value_heads": 2},
    "Qwen2Moe": {
        "num_key_value_heads": 2,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 8,
        "shared_expert_intermediate_size": 8,
    },
    "Qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "StableLm": {"num_key_value_heads": 2},
    "Rwkv": {"attention_hidden_size": 16, "context_length": 40},
    "BitNet": {"num_key_value_heads": 2},
}
PAIRS: dict[str, dict[str, Any]] = {
    "Bart": {},
    "MBart": {},
    "Marian": {},
    "Pegasus": {},
    "T5": {},
    "MT5": {},
    "SwitchTransformers": {"num_experts": 4},
}
TINY_PAIR: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "max_position_embeddings": 40,
    "num_layers": 2,
    "num_decoder_layers": 2,
    "num_heads": 2,
    "d_kv": 8,
    "d_ff": 24,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "forced_eos_token_id": 2,
}
IMAGES: dict[str, dict[str, Any]] = {
    "Beit": {"use_mask_token": False},
    "ConvNext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2},
    "DeiT": {},
    "Dinov2": {},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]},
    "Swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 2, "patch_size": 4},
    "ViT": {},
    "ViTMSN": {},
}


def cases() -> dict[str, Build]:
    """Return a trial for each configuration."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    found: dict[str, Build] = {}
    for names, make in (
        (ENCODERS, encoder),
        (DECODERS, decoder),
        (PAIRS, pair),
        (IMAGES, image),
        ({"Wav2Vec2": {}, "Hubert": {}}, speech),
        ({"CLIP": {}, "Siglip": {}}, contrastive),
        ({"Whisper": {}, "AST": {}}, sound),
    ):
        found |= {name: lambda name=name, make=make: make(name) for name in names}  # type: ignore[misc]
    return found


def model_of(name: str, head: str, options: dict[str, Any]) -> Any:
    """Return a model of transformers with random weights, in evaluation mode."""
    import transformers

    if name == "Swin":
        options.pop("num_attention_heads")  # another name for its num_heads
    config = getattr(transformers, f"{name}Config")(**options)
    config._experts_implementation = "eager"  # the fast one has no float64
    torch.manual_seed(0)
    return getattr(transformers, f"{name}{head}")(config).eval()


def tokens(low: int = 3) -> torch.Tensor:
    return torch.randint(low, VOCABULARY, (ROWS, LENGTH))


def trial(model: Any, batch: dict[str, Any]) -> Trial:
    return Trial(model, batch, "model", own_loss)


def encoder(name: str) -> Trial:
    model = model_of(name, "ForSequenceClassification", TINY | ENCODERS[name])
    return trial(model, {"input_ids": tokens(), "labels": torch.arange(ROWS) % 3})


def decoder(name: str) -> Trial:
    """Rows have different numbers of labels, as padded text has."""
    model = model_of(name, "LMHeadModel" if name == "GPT2" else "ForCausalLM", TINY | DECODERS[name])
    ids = tokens()
    labels = ids.clone()
    labels[0, -4:] = labels[1, -1:] = -100
    return trial(model, {"input_ids": ids, "labels": labels})


def pair(name: str) -> Trial:
    heads = {"Marian": "MTModel"}
    model = model_of(name, heads.get(name, "ForConditionalGeneration"), TINY_PAIR | PAIRS[name])
    return trial(model, {"input_ids": tokens(), "labels": tokens()})


def image(name: str) -> Trial:
    model = model_of(name, "ForImageClassification", VISION | IMAGES[name])
    return trial(model, {"pixel_values": torch.randn(ROWS, 3, 32, 32), "labels": torch.arange(ROWS) % 3})


def speech(name: str) -> Trial:
    """A loss by connectionist temporal classification, which has no second derivative in torch."""
    options: dict[str, Any] = TINY | {
        "conv_dim": [8, 8],
        "conv_stride": [5, 4],
        "conv_kernel": [10, 8],
        "num_conv_pos_embeddings": 4,
        "num_conv_pos_embedding_groups": 2,
        "ctc_loss_reduction": "mean",
        "num_feat_extract_layers": 2,
    }
    model = model_of(name, "ForCTC", options)
    return trial(model, {"input_values": torch.randn(ROWS, 800), "labels": torch.randint(3, VOCABULARY, (ROWS, 5))})


def contrastive(name: str) -> Trial:
    import transformers

    config = getattr(transformers, f"{name}Config")(text_config=TINY, vision_config=VISION, projection_dim=8)
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}Model")(config).eval()
    return trial(model, {"input_ids": tokens(), "pixel_values": torch.randn(ROWS, 3, 32, 32), "return_loss": True})


def sound(name: str) -> Trial:
    makers: dict[str, Callable[[], Trial]] = {
        "Whisper": lambda: trial(
            model_of(
                "Whisper",
                "ForConditionalGeneration",
                TINY_PAIR | {"num_mel_bins": 8, "max_source_positions": 15, "max_target_positions": 20},
            ),
            {"input_features": torch.randn(ROWS, 8, 30), "labels": tokens()},
        ),
        "AST": lambda: trial(
            model_of(
                "AST",
                "ForAudioClassification",
                VISION
                | {"max_length": 32, "num_mel_bins": 16, "patch_size": 8, "time_stride": 4, "frequency_stride": 4},
            ),
            {"input_values": torch.randn(ROWS, 32, 16), "labels": torch.arange(ROWS) % 3},
        ),
    }
    return makers[name]()

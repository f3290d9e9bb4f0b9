"""Tiny models of each family of encoders, a few rows for them, and the model called by hand."""

import io
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import soundfile
import torch
from datasets import Audio, Dataset, Features, Image, List, Value
from PIL import Image as PILImage
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoTokenizer,
    BeitConfig,
    BeitModel,
    BertConfig,
    BertModel,
    BitImageProcessor,
    ByT5Tokenizer,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    CLIPTextModel,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextImageProcessor,
    ConvNextModel,
    Data2VecAudioConfig,
    Data2VecAudioModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    GPT2Config,
    GPT2Model,
    HubertConfig,
    HubertModel,
    LlamaConfig,
    LlamaModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetModel,
    RobertaConfig,
    RobertaModel,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipVisionModel,
    SwinConfig,
    SwinModel,
    T5Config,
    T5EncoderModel,
    T5Model,
    TimesformerConfig,
    TimesformerModel,
    VideoMAEConfig,
    VideoMAEImageProcessor,
    VideoMAEModel,
    ViTConfig,
    ViTImageProcessor,
    ViTMAEConfig,
    ViTMAEModel,
    ViTModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
    XLNetConfig,
    XLNetModel,
)

from hf_curriculum.data.media import undecoded


def pooled(pooling, hidden):
    """Pooling of the hidden states of one row, without padding: ``(length, dim)`` to ``(dim,)``."""
    return {"cls": hidden[0], "mean": hidden.mean(0), "max": hidden.max(0).values, "last": hidden[-1]}[pooling]


def last_hidden(model, inputs):
    return model(**inputs).last_hidden_state[0]


def pooler(model, inputs):
    return model(**inputs).pooler_output[0].flatten()


def features(modality):
    def project(model, inputs):
        output = getattr(model, f"get_{modality}_features")(**inputs)
        return output[0] if isinstance(output, torch.Tensor) else output.pooler_output[0]

    return project


@dataclass(frozen=True)
class Case:
    """A family: how its tiny model is made, and how it is called by hand.

    ``auto`` is what ``record["pooling"]`` says for ``"auto"``; ``own`` the vector for ``"own"``; ``hidden`` the states
    that all else pools, ``(length, dim)``.
    """

    model: Any
    config: Any
    prepare: Any
    auto: str
    own: Any = None
    hidden: Any = last_hidden
    poolings: tuple[str, ...] = ("cls", "mean", "max", "last")

    def vector(self, pooling="auto"):
        """From the model and the inputs of one row to its vector."""
        used = self.auto if pooling == "auto" else pooling
        return self.own if used == "own" else lambda model, inputs: pooled(used, self.hidden(model, inputs))


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
"""Sizes of a transformer; weights large enough that rows differ by more than rounding."""
VIT = {**SMALL, "image_size": 32, "patch_size": 8, "initializer_range": 0.2}


def clip_config(config, **settings):
    return config(
        vision_config={**SMALL, "image_size": 32, "patch_size": 8},
        text_config={**SMALL, "vocab_size": 20, "max_position_embeddings": 16, **settings},
    )


def vision_tower(model, inputs):
    return model.vision_model(**inputs).last_hidden_state[0]


def feature_map(model, inputs):
    return model(**inputs).last_hidden_state[0].flatten(1).T


def unmasked(model, inputs):
    model.config.mask_ratio = 0.0
    patches = model.embeddings.patch_embeddings.num_patches
    return model(**inputs, noise=torch.arange(patches)[None]).last_hidden_state[0]


def square(processor, **settings):
    return lambda: processor(size={"height": 32, "width": 32}, **settings)


def shortest(processor, **settings):
    return lambda: processor(size={"shortest_edge": 32}, **settings)


VIT_PIXELS = square(ViTImageProcessor)
BIT_PIXELS = shortest(BitImageProcessor, crop_size={"height": 32, "width": 32})
CLIP_PIXELS = shortest(CLIPImageProcessor, crop_size={"height": 32, "width": 32})
STAGES = {"depths": [1, 1], "hidden_sizes": [8, 16]}

IMAGES = {
    "dino": Case(ViTModel, lambda: ViTConfig(**VIT), VIT_PIXELS, "cls"),  # facebook/dino-vits16 is a ViTModel
    "vit": Case(ViTModel, lambda: ViTConfig(**VIT, qkv_bias=False), VIT_PIXELS, "cls"),
    "dinov2": Case(Dinov2Model, lambda: Dinov2Config(**VIT), BIT_PIXELS, "cls"),
    "dinov2-registers": Case(
        Dinov2WithRegistersModel,
        lambda: Dinov2WithRegistersConfig(**VIT, num_register_tokens=2),
        BIT_PIXELS,
        "cls",
    ),
    "dinov3": Case(DINOv3ViTModel, lambda: DINOv3ViTConfig(**VIT, num_register_tokens=2), VIT_PIXELS, "cls"),
    "beit": Case(BeitModel, lambda: BeitConfig(**VIT, use_relative_position_bias=True), VIT_PIXELS, "own", pooler),
    "vit-mae": Case(ViTMAEModel, lambda: ViTMAEConfig(**VIT), VIT_PIXELS, "cls", hidden=unmasked),
    "swin": Case(
        SwinModel,
        lambda: SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4),
        VIT_PIXELS,
        "own",
        pooler,
        poolings=("mean", "max"),
    ),
    "convnext": Case(
        ConvNextModel,
        lambda: ConvNextConfig(**STAGES, num_stages=2, initializer_range=0.2),
        shortest(ConvNextImageProcessor),
        "own",
        pooler,
        feature_map,
        ("mean", "max"),
    ),
    "resnet": Case(
        ResNetModel,
        lambda: ResNetConfig(**STAGES, embedding_size=8),
        shortest(ConvNextImageProcessor),
        "own",
        pooler,
        feature_map,
        ("mean", "max"),
    ),
    "clip": Case(CLIPModel, lambda: clip_config(CLIPConfig), CLIP_PIXELS, "own", features("image"), vision_tower),
    "siglip": Case(
        SiglipModel,
        lambda: clip_config(SiglipConfig),
        square(SiglipImageProcessor),
        "own",
        features("image"),
        vision_tower,
        ("mean", "max"),
    ),
    "clip-vision": Case(CLIPVisionModel, lambda: clip_config(CLIPConfig).vision_config, CLIP_PIXELS, "own", pooler),
    "siglip-vision": Case(
        SiglipVisionModel,
        lambda: clip_config(SiglipConfig).vision_config,
        square(SiglipImageProcessor),
        "own",
        pooler,
        poolings=("mean", "max"),
    ),
}

CONVOLUTIONS = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
WAVE = {**SMALL, **CONVOLUTIONS, "initializer_range": 0.2}


def waves():
    return Wav2Vec2FeatureExtractor(sampling_rate=16_000)


def masked_waves():
    return Wav2Vec2FeatureExtractor(sampling_rate=16_000, return_attention_mask=True)


def whisper_config():
    return WhisperConfig(
        vocab_size=20,
        num_mel_bins=16,
        d_model=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        max_source_positions=100,
        max_target_positions=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        init_std=0.2,
    )


def heard(model, inputs):
    """States of Whisper's encoder that hold sound: a position is 320 samples, two spectrogram frames of 160."""
    frames = int(inputs.pop("attention_mask").sum())
    return model.get_encoder()(**inputs).last_hidden_state[0, : (frames + 1) // 2]


def clap_config(fusion):
    return ClapConfig(
        audio_config={
            "spec_size": 64,
            "num_mel_bins": 16,
            "patch_stride": [4, 4],
            "patch_size": 4,
            "window_size": 4,
            "depths": [1, 1],
            "num_attention_heads": [1, 2],
            "patch_embeds_hidden_size": 8,
            "hidden_size": 16,
            "enable_fusion": fusion,
            "enable_patch_fusion": fusion,
            "num_classes": 4,
            "fusion_type": "channel_map" if not fusion else None,
        },
        text_config={**SMALL, "vocab_size": 20, "max_position_embeddings": 20, "pad_token_id": 1},
        projection_dim=8,
    )


def clap_sounds(truncation):
    return lambda: ClapFeatureExtractor(
        feature_size=16,
        sampling_rate=16_000,
        hop_length=160,
        max_length_s=1,
        fft_window_size=512,
        frequency_max=8_000,
        truncation=truncation,
    )


def not_longer(call):
    """CLAP's extractor marks a random clip of each batch as longer than it takes, where none is."""

    def by_hand(model, inputs):
        return call(model, {**inputs, "is_longer": torch.zeros(1, 1, dtype=torch.bool)})

    return by_hand


def audio_tower(model, inputs):
    return feature_map(model.audio_model, inputs)


def clap(fusion):
    return Case(
        ClapModel,
        lambda: clap_config(fusion),
        clap_sounds("fusion" if fusion else "rand_trunc"),
        "own",
        not_longer(features("audio")),
        not_longer(audio_tower),
        ("mean", "max"),
    )


SOUNDS = {
    "wav2vec2-group": Case(Wav2Vec2Model, lambda: Wav2Vec2Config(**WAVE), waves, "mean"),
    "wav2vec2-layer": Case(
        Wav2Vec2Model,
        lambda: Wav2Vec2Config(**WAVE, feat_extract_norm="layer", do_stable_layer_norm=True),
        masked_waves,
        "mean",
    ),
    "hubert-group": Case(HubertModel, lambda: HubertConfig(**WAVE), waves, "mean"),
    "hubert-layer": Case(
        HubertModel,
        lambda: HubertConfig(**WAVE, feat_extract_norm="layer", do_stable_layer_norm=True),
        masked_waves,
        "mean",
    ),
    "wavlm-group": Case(WavLMModel, lambda: WavLMConfig(**WAVE), waves, "mean"),
    "wavlm-layer": Case(
        WavLMModel,
        lambda: WavLMConfig(**WAVE, feat_extract_norm="layer", do_stable_layer_norm=True),
        masked_waves,
        "mean",
    ),
    "data2vec-audio": Case(Data2VecAudioModel, lambda: Data2VecAudioConfig(**WAVE), masked_waves, "mean"),
    "whisper": Case(
        WhisperModel,
        whisper_config,
        lambda: WhisperFeatureExtractor(feature_size=16, chunk_length=2),
        "mean",
        hidden=heard,
    ),
    "ast": Case(
        ASTModel,
        lambda: ASTConfig(**SMALL, max_length=64, num_mel_bins=32, initializer_range=0.2),
        lambda: ASTFeatureExtractor(num_mel_bins=32, max_length=64),
        "own",
        pooler,
    ),
    "clap": clap(fusion=False),
    "clap-fusion": clap(fusion=True),
}

VIDEOS = {
    "videomae": Case(
        VideoMAEModel,
        lambda: VideoMAEConfig(**VIT, num_frames=4, tubelet_size=2),
        shortest(VideoMAEImageProcessor, crop_size={"height": 32, "width": 32}),
        "mean",
        poolings=("mean", "max"),
    ),
    "timesformer": Case(
        TimesformerModel,
        lambda: TimesformerConfig(**VIT, num_frames=4),
        shortest(VideoMAEImageProcessor, crop_size={"height": 32, "width": 32}),
        "cls",
        poolings=("cls", "mean", "max"),
    ),
}

WORDS = ["<s>", "<pad>", "</s>", "<unk>", "red", "green", "blue", "cat", "dog", "bird", "small", "large"]


def words(first="<s>", last="</s>", **settings):
    """A tokenizer of whole words, which puts a token before and after a text, as BERT's does."""

    def make():
        tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        around = [(token, WORDS.index(token)) for token in (first, last) if token]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=" ".join(filter(None, [first, "$A", last])), special_tokens=around
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            **{"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "model_max_length": 64} | settings,
            model_input_names=["input_ids", "attention_mask"],
        )

    return make


IDS = {"vocab_size": 12, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
TEXT = {**SMALL, **IDS, "initializer_range": 0.2}
T5 = {"d_model": 16, "d_ff": 16, "d_kv": 8, "num_heads": 2, "num_layers": 2, "pad_token_id": 0, "eos_token_id": 1}


def encoder_of(model, inputs):
    return model.get_encoder()(**inputs).last_hidden_state[0]


def text_tower(model, inputs):
    return model.text_model(**inputs).last_hidden_state[0]


def siglip_words(call):
    """SigLIP was trained on texts that are padded to its full length, without a mask."""

    def by_hand(model, inputs):
        ids = inputs["input_ids"]
        return call(model, {"input_ids": torch.nn.functional.pad(ids, (0, 16 - ids.shape[1]), value=1)})

    return by_hand


CAUSAL = ("mean", "max", "last")  # the first position sees nothing of the text

TEXTS = {
    "bert": Case(BertModel, lambda: BertConfig(**TEXT), words(), "mean"),
    "roberta": Case(RobertaModel, lambda: RobertaConfig(**TEXT, max_position_embeddings=514), words(), "mean"),
    "mpnet": Case(MPNetModel, lambda: MPNetConfig(**TEXT, max_position_embeddings=514), words(), "mean"),
    "modernbert": Case(
        ModernBertModel,
        lambda: ModernBertConfig(
            **TEXT, cls_token_id=0, sep_token_id=2, local_attention=4, global_attn_every_n_layers=2
        ),
        words(),
        "mean",
    ),
    "t5": Case(T5Model, lambda: T5Config(vocab_size=12, **T5), words(first=""), "mean", hidden=encoder_of),
    "byt5": Case(T5Model, lambda: T5Config(vocab_size=384, **T5), ByT5Tokenizer, "mean", hidden=encoder_of),
    "t5-encoder": Case(T5EncoderModel, lambda: T5Config(vocab_size=12, **T5), words(first=""), "mean"),
    "llama": Case(
        LlamaModel,
        lambda: LlamaConfig(**TEXT, max_position_embeddings=64),
        words(last="", pad_token=None),
        "last",
        poolings=CAUSAL,
    ),
    "gpt2": Case(
        GPT2Model,
        lambda: GPT2Config(vocab_size=12, n_embd=16, n_layer=2, n_head=2, n_positions=32, initializer_range=0.2),
        words(first="", last="", pad_token=None),
        "last",
        poolings=CAUSAL,
    ),
    "xlnet": Case(
        XLNetModel,
        lambda: XLNetConfig(vocab_size=12, d_model=16, n_layer=2, n_head=2, d_inner=16, initializer_range=0.2),
        words(first=""),
        "last",
    ),
    "clip": Case(
        CLIPModel, lambda: clip_config(CLIPConfig, **IDS), words(), "own", features("text"), text_tower, CAUSAL
    ),
    "clip-text": Case(
        CLIPTextModel, lambda: clip_config(CLIPConfig, **IDS).text_config, words(), "mean", poolings=CAUSAL
    ),
    "siglip": Case(
        SiglipModel,
        lambda: clip_config(SiglipConfig, **IDS),
        words(first=""),
        "own",
        siglip_words(features("text")),
        poolings=(),
    ),
    "clap": Case(ClapModel, lambda: clap_config(False), words(), "own", features("text"), text_tower),
}

FAMILIES = {"image": IMAGES, "audio": SOUNDS, "video": VIDEOS, "text": TEXTS}
AUTO = {"image": AutoImageProcessor, "audio": AutoFeatureExtractor, "video": AutoImageProcessor, "text": AutoTokenizer}


# --- rows ---------------------------------------------------------------------------------------------------------


def picture(seed, size=(40, 40)):
    """A picture of a few coloured fields."""
    fields = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return PILImage.fromarray(fields).resize(size, PILImage.Resampling.NEAREST)


def sound(seed, seconds, rate=16_000):
    """A tone in noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * rng.uniform(100, 2000) * time) + rng.normal(0, 0.05, time.size)).astype(
        np.float32
    )


def audio_file(samples, rate=16_000, layout="WAV", **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=layout, **options)
    return {"bytes": buffer.getvalue(), "path": None}


def audio_column(rows):
    raw = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}})
    return Dataset.from_dict({"audio": rows}, features=raw).cast_column("audio", Audio())


SECONDS = (0.31, 0.5, 0.1, 0.42, 0.1, 0.25)
SENTENCES = [
    "red cat",
    "a large green bird",
    "dog",
    "small small blue dog",
    "red cat green dog bird",
    "large dog",
]
DATA = {
    "image": lambda: Dataset.from_dict(
        {"image": [picture(i, (30 + 9 * i, 40)) for i in range(6)]}, features=Features({"image": Image()})
    ),
    "audio": lambda: audio_column(
        [audio_file(sound(i, seconds), subtype="FLOAT") for i, seconds in enumerate(SECONDS)]
    ),
    "video": lambda: Dataset.from_dict(
        {"frames": [[picture(10 * i + j, (40, 36)) for j in range(n)] for i, n in enumerate((4, 6, 3, 8))]},
        features=Features({"frames": List(Image())}),
    ),
    "text": lambda: Dataset.from_dict({"text": SENTENCES}),
}
dataset_of = cache(lambda modality: DATA[modality]())


def rows_of(dataset):
    (column,) = dataset.column_names
    return undecoded(dataset, column)[:][column]


def raw_inputs(modality, dataset):
    """The rows as the processor takes them, decoded without the library."""
    if modality == "image":
        return [image.convert("RGB") for image in dataset["image"]]
    if modality == "audio":
        return [soundfile.read(io.BytesIO(row["bytes"]), dtype="float32")[0] for row in rows_of(dataset)]
    if modality == "video":
        return [[frames[int((i + 0.5) * len(frames) / 4)] for i in range(4)] for frames in dataset["frames"]]
    return dataset["text"][:]


@lru_cache(maxsize=1)  # the poolings of a family follow each other
def loaded(modality, name, path):
    return FAMILIES[modality][name].model.from_pretrained(path).eval(), AUTO[modality].from_pretrained(path)


@torch.no_grad()
def by_hand(modality, name, path, rows, call):
    """What ``call`` makes of each row alone."""
    model, processor = loaded(modality, name, path)
    options = {"return_tensors": "pt"}
    if modality == "audio":
        options |= {"sampling_rate": 16_000}
        if name == "whisper":
            options |= {"return_attention_mask": True}
    return [call(model, dict(processor(row, **options))) for row in rows]

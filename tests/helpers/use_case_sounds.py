"""Sounds: pretraining, speech recognition, music, classification."""

import numpy as np
import torch
from datasets import Dataset
from sklearn.cluster import KMeans
from torch import nn
from torch.nn import functional as F
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    EncodecConfig,
    EncodecModel,
    HubertConfig,
    HubertModel,
    MusicgenDecoderConfig,
    MusicgenForCausalLM,
    PreTrainedModel,
    Seq2SeqTrainingArguments,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    Wav2Vec2ForPreTraining,
    WavLMConfig,
    WavLMModel,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)
from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices, _sample_negative_indices
from use_case_data import DIGITS, RATE, samples_of
from use_case_images import SMALL
from use_case_training import Batch, Recipe, Rows

WAVE = {
    **SMALL,
    "conv_dim": (8, 8, 8),
    "conv_stride": (10, 8, 4),  # a frame is 20 ms, as in the real models
    "conv_kernel": (10, 8, 4),
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
}
LETTERS = sorted(set("".join(DIGITS)))
PAD, START, END = range(3)
VOCABULARY = 3 + len(LETTERS)


def waves(rows: Rows) -> Batch:
    return {"input_values": torch.from_numpy(np.stack([samples_of(row) for row in rows]))}


def labels(rows: Rows) -> torch.Tensor:
    return torch.tensor([row["label"] for row in rows])


def spelled(rows: Rows, *end: int) -> torch.Tensor:
    """Letters of the transcripts, padded with -100."""
    texts = [torch.tensor([*(3 + LETTERS.index(letter) for letter in row["text"]), *end]) for row in rows]
    return nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=-100)


# --- pretraining --------------------------------------------------------------------------------------------------


def frames_of(model: PreTrainedModel, values: torch.Tensor) -> tuple[int, int]:
    return len(values), int(model._get_feat_extract_output_lengths(values.shape[1]))


def spans(shape: tuple[int, int]) -> np.ndarray:
    """Which frames are masked."""
    return _compute_mask_indices(shape, mask_prob=0.5, mask_length=2, min_masks=1)


def wav2vec2(_: Dataset) -> Recipe:
    model = Wav2Vec2ForPreTraining(
        Wav2Vec2Config(**WAVE, codevector_dim=8, proj_codevector_dim=8, num_codevectors_per_group=8, num_negatives=3)
    )

    def collate(rows: Rows) -> Batch:
        batch = waves(rows)
        shape = frames_of(model, batch["input_values"])
        mask = spans(shape)
        negatives = _sample_negative_indices(shape, model.config.num_negatives, mask)
        return {
            **batch,
            "mask_time_indices": torch.from_numpy(mask),
            "sampled_negative_indices": torch.from_numpy(negatives),
        }

    return Recipe(model, collate)


class UnitPrediction(nn.Module):
    """HuBERT's task: the cluster of each masked frame. transformers has the encoder, but no class for the task."""

    def __init__(self, encoder: PreTrainedModel, units: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, units)

    def forward(self, input_values: torch.Tensor, mask_time_indices: torch.Tensor, labels: torch.Tensor) -> Batch:
        hidden = self.encoder(input_values, mask_time_indices=mask_time_indices).last_hidden_state
        return {"loss": F.cross_entropy(self.head(hidden[mask_time_indices]), labels[mask_time_indices])}


def log_spectra(values: torch.Tensor, frames: int) -> torch.Tensor:
    """Of each frame of the model, ``(n, frames, 33)``."""
    hop = values.shape[1] // frames
    spectra = torch.stft(values, 64, hop, window=torch.hann_window(64), center=False, return_complex=True)
    return spectra.abs().log1p().transpose(1, 2)[:, :frames]


def masked_units(encoder: PreTrainedModel, dataset: Dataset) -> Recipe:
    """Units are clusters of log spectra, as in the first iteration of HuBERT, which takes those of MFCCs."""
    every_clip = waves(dataset)["input_values"]
    _, frames = frames_of(encoder, every_clip)
    units = KMeans(8, n_init=1, random_state=0).fit(log_spectra(every_clip, frames).flatten(0, 1).numpy())

    def collate(rows: Rows) -> Batch:
        batch = waves(rows)
        spectra = log_spectra(batch["input_values"], frames)
        targets = units.predict(spectra.flatten(0, 1).numpy()).reshape(spectra.shape[:2])
        mask = torch.from_numpy(spans(targets.shape))
        return {**batch, "mask_time_indices": mask, "labels": torch.from_numpy(targets).long()}

    return Recipe(UnitPrediction(encoder, 8), collate)


def hubert(dataset: Dataset) -> Recipe:
    return masked_units(HubertModel(HubertConfig(**WAVE)), dataset)


def wavlm(dataset: Dataset) -> Recipe:
    return masked_units(WavLMModel(WavLMConfig(**WAVE)), dataset)


# --- speech recognition -------------------------------------------------------------------------------------------


def whisper(_: Dataset) -> Recipe:
    extractor = WhisperFeatureExtractor(feature_size=16, chunk_length=1)
    config = WhisperConfig(
        vocab_size=VOCABULARY,
        num_mel_bins=16,
        d_model=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        max_source_positions=50,
        max_target_positions=8,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
        decoder_start_token_id=START,
    )

    def collate(rows: Rows) -> Batch:
        inputs = extractor([samples_of(row) for row in rows], sampling_rate=RATE, return_tensors="pt")
        return {"input_features": inputs.input_features, "labels": spelled(rows, END)}

    return Recipe(WhisperForConditionalGeneration(config), collate, Seq2SeqTrainingArguments)


def ctc(_: Dataset) -> Recipe:
    model = Wav2Vec2ForCTC(Wav2Vec2Config(**WAVE, vocab_size=VOCABULARY, pad_token_id=PAD, ctc_zero_infinity=True))
    return Recipe(model, lambda rows: {**waves(rows), "labels": spelled(rows)})


# --- music --------------------------------------------------------------------------------------------------------

CODEBOOKS, CODES = 4, 16


def codec(clips: torch.Tensor) -> EncodecModel:
    """An untrained EnCodec whose four codebooks are the clusters of what it makes of these clips."""
    config = EncodecConfig(
        sampling_rate=RATE,
        hidden_size=16,
        num_filters=4,
        num_lstm_layers=1,
        codebook_size=CODES,
        target_bandwidths=[0.8],  # 50 frames a second of 4 codes of 4 bits
    )
    model = EncodecModel(config).eval()
    with torch.no_grad():
        residual = model.encoder(clips).transpose(1, 2).flatten(0, 1)
    for layer in model.quantizer.layers:
        clusters = KMeans(CODES, n_init=1, random_state=0).fit(residual.numpy())
        layer.codebook.embed.copy_(torch.from_numpy(clusters.cluster_centers_))
        residual = residual - layer.codebook.embed[clusters.labels_]
    return model


def musicgen(dataset: Dataset) -> Recipe:
    """The decoder alone predicts the codes of a melody, codebook after codebook with a delay of one frame each."""
    encoder = codec(waves(dataset)["input_values"][:, None])
    model = MusicgenForCausalLM(
        MusicgenDecoderConfig(
            vocab_size=CODES,
            hidden_size=16,
            ffn_dim=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_codebooks=CODEBOOKS,
            pad_token_id=CODES,
            bos_token_id=CODES,
        )
    )

    def collate(rows: Rows) -> Batch:
        with torch.no_grad():
            codes = encoder.encode(waves(rows)["input_values"][:, None]).audio_codes[0].flatten(0, 1)
        prompt = F.pad(codes, (1, 0), value=CODES)
        _, delayed = model.build_delay_pattern_mask(prompt, CODES, prompt.shape[1] + CODEBOOKS - 1)
        labels = delayed[:, 1:]  # the model adds the start
        return {"labels": labels.unflatten(0, (len(rows), CODEBOOKS)).transpose(1, 2)}

    return Recipe(model, collate)


# --- classification -----------------------------------------------------------------------------------------------


def ast(classes: int, rate: int, frames: int) -> Recipe:
    extractor = ASTFeatureExtractor(sampling_rate=rate, num_mel_bins=16, max_length=frames)
    config = ASTConfig(
        **SMALL,
        patch_size=8,
        frequency_stride=8,
        time_stride=8,
        num_mel_bins=16,
        max_length=frames,
        num_labels=classes,
    )

    def collate(rows: Rows) -> Batch:
        inputs = extractor([samples_of(row) for row in rows], sampling_rate=rate, return_tensors="pt")
        return {"input_values": inputs.input_values, "labels": labels(rows)}

    return Recipe(ASTForAudioClassification(config), collate)


def ast_digits(_: Dataset) -> Recipe:
    return ast(classes=10, rate=RATE, frames=24)


def ast_environment(_: Dataset) -> Recipe:
    return ast(classes=50, rate=2000, frames=64)

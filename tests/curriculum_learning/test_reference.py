"""The reference code's API: its README's examples as they stand there, and the numbers against formulas."""

import math

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import davies_bouldin_score
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from transformers import ViTModel

from hf_curriculum import add_embeddings
from hf_curriculum.curriculum_learning import (
    CurriculumLearning,
    FeatureExtractor,
    PretrainedModelExtractor,
    create_curriculum_learning,
    create_curriculum_learning_with_dino,
)
from hf_curriculum.embedding.forward import Forward
from hf_curriculum.encoders.callable import CallableEncoder

pytestmark = pytest.mark.costly

ROWS = 240


class Images(Dataset):
    """As torchvision's datasets: ``(image, label)`` by number, and ``targets``."""

    def __init__(self, transform=None):
        rng = np.random.default_rng(0)
        self.targets = [row % 3 for row in range(ROWS)]
        self.pixels = rng.integers(0, 256, (ROWS, 32, 32, 3), dtype=np.uint8)
        self.pixels[..., 0] //= 1 + np.array(self.targets, np.uint8)[:, None, None]
        self.transform = transform

    def __len__(self):
        return ROWS

    def __getitem__(self, row):
        image = Image.fromarray(self.pixels[row])
        return (self.transform(image) if self.transform else image), self.targets[row]


def to_tensor(image):
    return torch.from_numpy(np.array(image)).permute(2, 0, 1) / 127.5 - 1


class Given(FeatureExtractor):
    """Features that are there already."""

    def __init__(self, features):
        self.features = features

    def extract_features(self, data_loader, device):
        return torch.from_numpy(self.features)


def blobs(n, centers=5, seed=0):
    features, labels = make_blobs(n, n_features=6, centers=centers, cluster_std=2.0, random_state=seed)
    return features.astype(np.float32), labels


def fitted(features, labels=None, **options):
    return CurriculumLearning(Given(features), **options).fit(TensorDataset(torch.from_numpy(features)), labels)


def fixed(k):
    return {"n_clusters": k, "auto_select_clusters": False}


def normalized(features):
    features = (features - features.mean(0)) / features.std(0)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def distances(features, model):
    return np.linalg.norm(features - model.cluster_centers_[model.labels_], axis=1)


def minmax(values, groups):
    scaled = np.empty_like(values)
    for group in np.unique(groups):
        own = values[groups == group]
        scaled[groups == group] = (own - own.min()) / (own.max() - own.min())
    return scaled


def restarted(k, features, seed=42):
    return KMeans(k, random_state=seed, n_init=10).fit(features)


def share_of(weights):
    chances = np.float64(weights) / np.float64(weights).sum()
    return float(np.mean(1 - (1 - chances) ** len(chances)))


# --- the examples of the reference README -------------------------------------------------------------------------

QUICK_START = """
from curriculum_learning import create_curriculum_learning_with_dino
from torch.utils.data import WeightedRandomSampler

device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')

difficulty_weights, curriculum = create_curriculum_learning_with_dino(
    dataset=dataset,
    device=device,
    dino_model='dino_vits16',
    batch_size=256,
    initial_effective_percentage=0.15,
    warmup_iterations=5000
)

# Example training loop
for epoch in range(num_epochs):
    for i, (inputs, targets) in enumerate(train_loader):
        current_iter = epoch * len(train_loader) + i

        weights = curriculum.get_curriculum_weights(
            strategy='difficulty',
            current_iteration=current_iter
        )
        sampler = WeightedRandomSampler(weights, len(dataset), replacement=True)

        # Your training step here
        train_step(inputs, targets)
"""
AUDIO = """
from curriculum_learning import create_curriculum_learning_with_dino

weights, curriculum = create_curriculum_learning_with_dino(
    dataset=audio_dataset,
    device=device,
    batch_size=128,
    initial_effective_percentage=0.12,
    warmup_iterations=4000
)
"""
TEXT = """
from curriculum_learning import create_curriculum_learning

weights, curriculum = create_curriculum_learning(
    model=text_encoder,
    dataset=text_dataset,
    device=device,
    batch_size=256,
    initial_effective_percentage=0.08,
    warmup_iterations=8000
)
"""
AUTOMATIC_SAMPLING = """
if current_iter < curriculum.warmup_iterations:
    weights = curriculum.get_curriculum_weights(current_iteration=current_iter)
else:
    weights = [1.0 / len(dataset)] * len(dataset)  # Uniform sampling
"""


def run(example, **names):
    """Run an example with its one import changed."""
    exec(example.replace("from curriculum_learning", "from hf_curriculum.curriculum_learning"), names)
    return names


def class_tokens(path, pixels):
    with torch.no_grad():
        return ViTModel.from_pretrained(path)(pixel_values=pixels).last_hidden_state[:, 0].numpy()


def test_quick_start(tiny_dino):
    dataset = Images(to_tensor)
    trained = []
    names = run(
        QUICK_START,
        torch=torch,
        dataset=dataset,
        num_epochs=2,
        train_loader=DataLoader(dataset, batch_size=16),
        train_step=lambda inputs, targets: trained.append(len(inputs)),
    )
    curriculum, weights = names["curriculum"], names["difficulty_weights"]
    expected = normalized(class_tokens(tiny_dino, torch.stack([image for image, _ in dataset])))
    np.testing.assert_allclose(curriculum.features_, expected, atol=2e-5)
    assert weights.shape == (ROWS,) and weights.dtype == np.float32
    assert (weights >= 0).all() and (weights <= 1).all()
    assert curriculum.labels_.tolist() == dataset.targets
    assert trained == [16] * 30
    assert share_of(names["weights"]) == pytest.approx(0.15 + (1 - 1 / math.e - 0.15) * 29 / 5000, abs=1e-5)
    assert len(set(names["sampler"])) < ROWS / 2


def test_audio_example(tiny_dino):
    spectrograms = torch.randn(200, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    names = run(AUDIO, audio_dataset=TensorDataset(spectrograms, torch.zeros(200)), device=torch.device("cpu"))
    np.testing.assert_allclose(
        names["curriculum"].features_, normalized(class_tokens(tiny_dino, spectrograms)), atol=2e-5
    )
    assert share_of(names["curriculum"].get_curriculum_weights()) == pytest.approx(0.12, abs=1e-5)


def test_text_example():
    torch.manual_seed(0)
    tokens = torch.randint(0, 50, (400, 7))
    encoder = torch.nn.Sequential(torch.nn.EmbeddingBag(50, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 8))
    names = run(TEXT, text_encoder=encoder, text_dataset=TensorDataset(tokens, tokens[:, 0]), device="cpu")
    with torch.no_grad():
        expected = normalized(encoder.eval()(tokens).numpy())
    np.testing.assert_allclose(names["curriculum"].features_, expected, atol=2e-5)
    # the reference refuses the 0.08 of its own README
    assert share_of(names["curriculum"].get_curriculum_weights()) == pytest.approx(0.08, abs=1e-5)


@pytest.mark.parametrize("current_iter", [0, 999, 1000])
def test_automatic_sampling_example(current_iter):
    features, _ = blobs(100)
    names = run(AUTOMATIC_SAMPLING, curriculum=fitted(features), current_iter=current_iter, dataset=range(100))
    assert np.sum(names["weights"]) == pytest.approx(1)


# --- features -----------------------------------------------------------------------------------------------------


def test_images_that_no_transform_made_tensors_are_prepared_as_dino_takes_them(tiny_dino):
    _, curriculum = create_curriculum_learning_with_dino(Images(), batch_size=16)
    expected = add_embeddings(Images(), tiny_dino).with_format("numpy")["embedding"][:]
    np.testing.assert_allclose(curriculum.features_, normalized(expected), atol=2e-5)


def test_texts_are_prepared_as_their_encoder_takes_them(tiny_bert, sentences):
    texts = sentences["text"][:]
    features = PretrainedModelExtractor(tiny_bert, normalize_features=False).extract_features(DataLoader(texts), "cpu")
    expected = add_embeddings(sentences, tiny_bert).with_format("numpy")["embedding"][:]
    np.testing.assert_allclose(features.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"drop_last": True}, {"sampler": range(5)}], ids=str)
def test_features_are_in_the_order_of_the_dataset_whatever_the_loader_does(options):
    inputs = torch.randn(50, 4)
    loader = DataLoader(TensorDataset(inputs), batch_size=16, **options)
    extractor = PretrainedModelExtractor(torch.nn.Identity(), normalize_features=False)
    assert torch.equal(extractor.extract_features(loader, "cpu"), inputs)


def test_the_collation_of_the_loader_makes_the_batches():
    rows = [torch.arange(1.0, 2 + row % 4) for row in range(20)]
    loader = DataLoader(rows, batch_size=8, collate_fn=lambda rows: torch.nn.utils.rnn.pad_sequence(rows, True))
    model = torch.nn.Sequential(torch.nn.AdaptiveMaxPool1d(1))
    features = PretrainedModelExtractor(model, normalize_features=False).extract_features(loader, "cpu")
    assert features.tolist() == [[row.max()] for row in rows]


def test_feature_layer_takes_the_output_of_a_module_and_leaves_no_hook():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.LazyLinear(2))
    images = torch.randn(9, 3, 8, 8)
    model(images)
    loader = DataLoader(TensorDataset(images), batch_size=4)
    features = PretrainedModelExtractor(model, "1", normalize_features=False).extract_features(loader, "cpu")
    expected = model[1](model[0](images)).mean((2, 3))
    np.testing.assert_allclose(features.numpy(), expected.detach().numpy(), atol=1e-6)
    assert not model[1]._forward_hooks


def test_the_model_goes_to_the_device():
    model = torch.nn.Linear(2, 2)
    assert Forward(CallableEncoder(model), "float32", "meta").device == torch.device("meta")
    assert model.weight.is_meta


@pytest.mark.parametrize(
    ("model", "rows", "error", "message"),
    [
        (torch.nn.Identity(), torch.zeros(0, 2), ValueError, "no rows"),
        (torch.nn.Identity(), datasets.Dataset.from_dict({"x": [1]}), TypeError, r"\['x'\].*add_difficulty"),
        (torch.nn.Identity(), torch.zeros(3), ValueError, r"Tensor of shape \(1,\), not .* \(batch, dim\)"),
        (torch.nn.LSTM(2, 2), torch.zeros(3, 2), ValueError, r"returned a tuple, not a tensor"),
        (torch.nn.Identity(), torch.tensor([[0.0], [math.nan]]), ValueError, "Row 1 .*NaN"),
    ],
)
def test_what_has_no_features_is_refused(model, rows, error, message):
    with pytest.raises(error, match=message):
        PretrainedModelExtractor(model).extract_features(DataLoader(rows), "cpu")


def test_unknown_layer_is_refused_with_those_that_there_are():
    extractor = PretrainedModelExtractor(torch.nn.Sequential(torch.nn.ReLU()), "head")
    with pytest.raises(ValueError, match=r"feature_layer 'head' is not a module of Sequential; some are \['0'\]"):
        extractor.extract_features(DataLoader(torch.zeros(3, 2)), "cpu")


def test_a_stream_is_refused():
    class Stream(IterableDataset):
        def __iter__(self):
            yield torch.zeros(2)

    with pytest.raises(TypeError, match="map-style"):
        create_curriculum_learning(torch.nn.Identity(), Stream())


# --- difficulty weights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 42])
@pytest.mark.parametrize("normalize", [True, False])
def test_weights_are_distances_to_the_centres_of_kmeans(normalize, seed):
    features, _ = blobs(400)
    curriculum = fitted(features, normalize_weights=normalize, random_state=seed, **fixed(5))
    model = restarted(5, features, seed)
    expected = distances(features, model)
    expected = minmax(expected, model.labels_) if normalize else expected
    np.testing.assert_allclose(curriculum.get_difficulty_weights(), expected, atol=1e-5)
    assert curriculum.optimal_clusters_ == 5


@pytest.mark.parametrize("centers", [3, 6])
def test_the_number_of_clusters_has_the_lowest_davies_bouldin_index(centers):
    features, _ = blobs(300, centers, seed=centers)
    index = {k: davies_bouldin_score(features, restarted(k, features).labels_) for k in range(2, 21)}
    assert fitted(features).optimal_clusters_ == min(index, key=index.get)
    index = {k: index[k] for k in range(7, 10)}
    assert fitted(features, cluster_range=(7, 9)).optimal_clusters_ == min(index, key=index.get)


def test_n_clusters_counts_only_without_auto_select_clusters(caplog):
    features, _ = blobs(300, 3)
    assert fitted(features, n_clusters=9).optimal_clusters_ == fitted(features).optimal_clusters_ != 9
    assert "n_clusters=9 counts only with auto_select_clusters=False" in caplog.text
    assert fitted(features, **fixed(9)).optimal_clusters_ == 9


def test_many_rows_are_clustered_by_mini_batches_unless_that_is_off():
    features, _ = blobs(10_001)
    model = MiniBatchKMeans(5, random_state=42, batch_size=1000).fit(features)
    expected = minmax(distances(features, model), model.labels_)
    np.testing.assert_allclose(fitted(features, **fixed(5)).weights_, expected, atol=1e-5)
    model = restarted(5, features)
    expected = minmax(distances(features, model), model.labels_)
    np.testing.assert_allclose(fitted(features, use_minibatch_kmeans=False, **fixed(5)).weights_, expected, atol=1e-5)


def test_mini_batches_choose_the_number_too():
    features, _ = blobs(10_001, 4, seed=4)
    index = {}
    for k in (2, 3, 4, 5):
        model = MiniBatchKMeans(k, random_state=42, batch_size=1000).fit(features)
        index[k] = davies_bouldin_score(features, model.labels_)
    assert fitted(features, cluster_range=(2, 5)).optimal_clusters_ == min(index, key=index.get)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("n", "most"), [(400, 1000), (2400, 1000)], ids=["few", "many"])
def test_with_labels_each_class_is_clustered_and_scaled_by_itself(normalize, n, most):
    features, _ = blobs(n)
    labels = np.where(np.arange(n) % 2, "cat", "dog")
    curriculum = fitted(features, labels, use_labels=True, normalize_weights=normalize, **fixed(3))
    for label in ("cat", "dog"):
        own = features[labels == label]
        if len(own) > most:
            model = MiniBatchKMeans(3, random_state=42, batch_size=min(512, len(own) // 5)).fit(own)
        else:
            model = restarted(3, own)
        expected = distances(own, model)
        expected = minmax(expected, np.zeros(len(own))) if normalize else expected
        np.testing.assert_allclose(curriculum.weights_[labels == label], expected, atol=1e-5)


@pytest.mark.parametrize("classes", [3, 5])
def test_with_labels_no_more_clusters_are_tried_than_there_are_classes(classes):
    features, labels = make_blobs(300, 6, centers=6, random_state=0)
    features = features.astype(np.float32)
    index = {k: davies_bouldin_score(features, restarted(k, features).labels_) for k in range(2, classes + 1)}
    assert fitted(features).optimal_clusters_ == 6
    chosen = fitted(features, labels % classes, use_labels=True).optimal_clusters_
    assert chosen == min(index, key=index.get)
    assert fitted(features, labels * 0, use_labels=True).optimal_clusters_ == 2  # the low end of cluster_range


def test_a_class_of_fewer_rows_than_clusters_weighs_one():
    features, _ = blobs(100)
    labels = np.repeat([0, 1], [97, 3])
    weights = fitted(features, labels, use_labels=True, **fixed(4)).weights_
    assert weights[97:].tolist() == [1, 1, 1] and (weights[:97] < 1).sum() == 96


def test_rows_of_a_tiny_cluster_are_not_the_easiest():
    features, _ = blobs(200, 2)
    features[7] = 100  # k-means gives it a cluster of its own, at distance 0
    assert fitted(features, **fixed(3)).weights_[7] == 1
    weights = fitted(features, np.zeros(200), use_labels=True, **fixed(3)).weights_
    rest = np.arange(200) != 7
    model = restarted(3, features)
    assert weights[7] == 1
    np.testing.assert_allclose(weights[rest], minmax(distances(features, model)[rest], np.zeros(199)), atol=1e-5)


def test_labels_are_looked_for_in_the_dataset(caplog):
    dataset = Images(to_tensor)
    model = torch.nn.Sequential(torch.nn.Flatten())
    options = {"use_labels": True, "cluster_range": (2, 3)}
    given = CurriculumLearning(PretrainedModelExtractor(model), **options).fit(dataset, dataset.targets).weights_
    found, curriculum = create_curriculum_learning(model, dataset, **options)
    loaded = CurriculumLearning(PretrainedModelExtractor(model), **options).fit(DataLoader(dataset, 7)).weights_
    assert np.array_equal(given, found) and np.array_equal(given, loaded)
    assert not caplog.text
    without, _ = create_curriculum_learning(model, Subset(dataset, range(ROWS)), **options)
    assert "use_labels=True, but the dataset has no" in caplog.text
    assert np.array_equal(without, create_curriculum_learning(model, dataset, cluster_range=(2, 3))[0])


def test_labels_that_are_not_one_a_row_are_refused():
    with pytest.raises(ValueError, match=r"shape \(100,\), got \(99,\)"):
        fitted(blobs(100)[0], np.zeros(99))


def test_more_clusters_than_rows_are_refused_and_not_tried():
    features, _ = blobs(6)
    with pytest.raises(ValueError, match="7 clusters need at least as many rows, but there are 6"):
        fitted(features, **fixed(7))
    assert fitted(features).optimal_clusters_ <= 5
    with pytest.raises(ValueError, match="2 clusters need"):
        fitted(features[:1])


def test_difficulty_weights_are_a_copy():
    curriculum = fitted(blobs(100)[0])
    curriculum.get_difficulty_weights()[:] = 7
    assert curriculum.weights_.max() <= 1


# --- curriculum weights -------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("iteration", [0, 250, 500, 999])
@pytest.mark.parametrize(("strategy", "sign"), [("difficulty", -1), ("easy", 1)])
def test_curriculum_weights_are_a_softmax_of_the_effective_share_that_is_due(strategy, sign, iteration, normalize):
    curriculum = fitted(blobs(500)[0], normalize_weights=normalize, initial_effective_percentage=0.2)
    weights = curriculum.get_curriculum_weights(strategy, iteration)
    assert weights.dtype == np.float32 and weights.sum() == pytest.approx(1, abs=1e-5)
    due = 0.2 + (1 - 1 / math.e - 0.2) * iteration / 1000
    assert share_of(weights) == pytest.approx(due, abs=1e-5)
    logarithms = np.log(np.float64(weights[weights > 1e-30]))
    slope, intercept = np.polyfit(curriculum.weights_[weights > 1e-30], logarithms, 1)
    assert sign * slope > 0
    np.testing.assert_allclose(
        logarithms, slope * curriculum.weights_[weights > 1e-30] + intercept, atol=1e-3 * max(1, abs(slope))
    )


@pytest.mark.parametrize("strategy", ["difficulty", "easy"])
def test_after_the_warmup_all_weigh_one(strategy):
    curriculum = fitted(blobs(100)[0])
    for iteration in (1000, 5000):
        assert curriculum.get_curriculum_weights(strategy, iteration).tolist() == [1] * 100
    assert curriculum.get_curriculum_weights(strategy, 10, warmup_iterations=10).tolist() == [1] * 100
    assert curriculum.get_curriculum_weights(strategy, 9, warmup_iterations=10).tolist() != [1] * 100
    assert fitted(blobs(100)[0], warmup_iterations=0).get_curriculum_weights(strategy).tolist() == [1] * 100


def test_max_effective_ratio_is_where_the_warmup_ends():
    options = {"initial_effective_percentage": 0.2, "max_effective_ratio": 0.4}
    curriculum = fitted(blobs(500)[0], **options)
    assert share_of(curriculum.get_curriculum_weights(current_iteration=500)) == pytest.approx(0.3, abs=1e-5)
    weights = fitted(blobs(500)[0], initial_effective_percentage=0.9).get_curriculum_weights()
    assert share_of(weights) == pytest.approx(1 - 1 / math.e, abs=1e-5)
    weights = fitted(blobs(500)[0], max_effective_ratio=1.0).get_curriculum_weights(current_iteration=999)
    np.testing.assert_allclose(weights, 1 / 500, rtol=1e-6)


def test_weights_follow_a_new_fit():
    curriculum = fitted(blobs(100)[0])
    before = curriculum.get_curriculum_weights()
    curriculum.feature_extractor = Given(blobs(80, seed=1)[0])
    curriculum.fit(TensorDataset(torch.zeros(80)))
    assert len(before) == 100 and len(curriculum.get_curriculum_weights()) == 80
    assert share_of(curriculum.get_curriculum_weights()) == pytest.approx(0.3, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"initial_effective_percentage": 0}, "initial_effective_percentage must be in .*, got 0"),
        ({"initial_effective_percentage": 1.1}, "initial_effective_percentage must be in .*, got 1.1"),
        ({"max_effective_ratio": 0}, "max_effective_ratio must be in .*, got 0"),
        ({"warmup_iterations": -1}, "warmup_iterations must be at least 0 .*, got -1"),
    ],
)
def test_options_outside_their_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CurriculumLearning(Given(blobs(9)[0]), **options)


@pytest.mark.parametrize("name", ["get_difficulty_weights", "get_curriculum_weights"])
def test_nothing_can_be_had_before_fit(name):
    with pytest.raises(ValueError, match=r"call fit\(dataset\) or load_weights"):
        getattr(CurriculumLearning(Given(blobs(9)[0])), name)()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "hard"}, "strategy must be one of .*, got 'hard'"),
        ({"strategy": 5}, "got 5"),
        ({"current_iteration": -1}, "counts from 0, got -1"),
    ],
)
def test_what_no_curriculum_has_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fitted(blobs(50)[0]).get_curriculum_weights(**arguments)


# --- files --------------------------------------------------------------------------------------------------------


def test_saved_weights_are_loaded_by_the_same_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    features, labels = blobs(90)
    curriculum = fitted(features, labels)
    curriculum.save_weights("weights.npy")
    loaded = CurriculumLearning(Given(features))
    loaded.load_weights("weights.npy")
    for name in ("weights_", "features_", "labels_"):
        assert np.array_equal(getattr(loaded, name), getattr(curriculum, name))
    assert loaded.optimal_clusters_ == curriculum.optimal_clusters_
    assert np.array_equal(loaded.get_curriculum_weights(), curriculum.get_curriculum_weights())


def test_nothing_is_saved_before_fit(tmp_path):
    with pytest.raises(ValueError, match="call fit"):
        CurriculumLearning(Given(blobs(9)[0])).save_weights(tmp_path / "weights.npy")
    assert not list(tmp_path.iterdir())

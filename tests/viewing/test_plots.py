import matplotlib.pyplot as plt
import numpy as np
import pytest
from datasets import Dataset, Features, Image, Value
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image as PILImage

from hf_curriculum import CurriculumConfig, curriculum_weights
from hf_curriculum.training.schedule import planned_fraction
from hf_curriculum.viewing.plots import plot_difficulty, plot_schedule, show_extremes
from hf_curriculum.viewing.thumbnails import read_row

UNIFORM = 1 - 1 / np.e


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def scored(difficulty, cluster=None, **columns):
    """A dataset of one-pixel images; the value of each is its row, modulo 256."""
    images = [PILImage.fromarray(np.full((1, 1), row % 256, np.uint8)) for row in range(len(difficulty))]
    features = Features(image=Image(), cluster=Value("int32"), difficulty=Value("float32"))
    rows = {"image": images, "cluster": [0] * len(images) if cluster is None else cluster, "difficulty": difficulty}
    dataset = Dataset.from_dict(rows, features=features)
    for name, values in columns.items():
        dataset = dataset.add_column(name, values)
    return dataset


# --- plot_schedule ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["cosine", "linear", "root", "step"])
def test_schedule_is_the_planned_fraction_then_uniform(schedule):
    config = CurriculumConfig(initial_fraction=0.2, final_fraction=0.5, warmup_steps=0.3, schedule=schedule)
    ax = plot_schedule(config, 100)
    assert isinstance(ax, Axes)
    steps, fractions = ax.lines[0].get_data()
    np.testing.assert_array_equal(steps, np.arange(101))
    expected = [float(planned_fraction(step, config, 30)) if step < 30 else UNIFORM for step in range(101)]
    np.testing.assert_allclose(fractions, expected, atol=1e-12)


def test_schedule_marks_the_end_of_the_warmup():
    ax = plot_schedule(CurriculumConfig(warmup_steps=30), 100)
    assert [list(line.get_xdata()) for line in ax.lines[1:]] == [[30, 30]]
    assert [text.get_text() for text in ax.texts] == ["uniform from here"]
    assert ax.texts[0].xy == (30, 0.3)


def test_schedule_of_a_training_that_ends_inside_the_warmup_is_cut_not_squeezed():
    config = CurriculumConfig(warmup_steps=400)
    ax = plot_schedule(config, 100)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), planned_fraction(np.arange(101), config, 400))
    assert len(ax.lines) == 1 and not ax.texts  # it never becomes uniform


def test_schedule_is_drawn_on_the_axes_given():
    _, (left, right) = plt.subplots(1, 2)
    assert plot_schedule(CurriculumConfig(), 10, right) is right
    assert right.lines and not left.lines


# --- plot_difficulty ----------------------------------------------------------------------------------------------


COUNTS = np.arange(40) * 7 % 5 + 1
IN_BINS = np.repeat(np.arange(40) + 0.5, COUNTS)  # so many in the middle of each of 40 bins from 0 to 40


def bars(ax):
    """Edges and heights of the histogram of the dataset."""
    edges = [bar.get_x() for bar in ax.patches[:40]] + [ax.patches[39].get_x() + ax.patches[39].get_width()]
    return np.array(edges), np.array([bar.get_height() for bar in ax.patches[:40]])


def test_histogram_counts_the_difficulties():
    ax = plot_difficulty(scored([0, *IN_BINS, 40]))
    assert isinstance(ax, Axes)
    assert len(ax.patches) == 40
    edges, heights = bars(ax)
    np.testing.assert_allclose(edges, np.arange(41), atol=1e-12)
    counts = COUNTS + np.eye(40)[0] + np.eye(40)[39]  # with 0 and 40 themselves
    np.testing.assert_allclose(heights, counts / counts.sum(), rtol=1e-9)


@pytest.mark.parametrize("order", ["easy_first", "hard_first"])
def test_second_histogram_is_what_the_first_step_draws(order):
    config = CurriculumConfig(initial_fraction=0.1, order=order)
    difficulty = np.array([0, *IN_BINS, 40])
    ax = plot_difficulty(scored(difficulty.tolist()), config=config)
    outline = ax.patches[40].get_xy()
    heights = np.interp(np.arange(40) + 0.5, outline[:, 0], outline[:, 1])
    p = curriculum_weights(difficulty, 0, config, total_steps=100)
    expected = np.bincount(np.minimum(difficulty, 39).astype(int), weights=p)
    np.testing.assert_allclose(heights, expected, atol=1e-9)
    assert expected.argmax() == pytest.approx(0 if order == "easy_first" else 39, abs=4)  # and not a flat one
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["dataset", "drawn at step 0"]


def test_histogram_is_of_the_column_asked_for():
    dataset = scored([0.1, 0.2, 0.3], perplexity=[10.0, 30.0, 50.0])
    ax = plot_difficulty(dataset, "perplexity")
    edges, _ = bars(ax)
    assert (edges[0], edges[-1]) == (10, 50)
    assert ax.get_xlabel() == "perplexity"


def test_rows_without_a_difficulty_are_left_out_of_the_histogram():
    whole, part = scored([0.1, 0.5, 0.9]), scored([0.1, None, 0.5, None, 0.9])
    config = CurriculumConfig()
    patches = [plot_difficulty(dataset, config=config).patches for dataset in (part, whole)]
    for ours, theirs in zip(*patches, strict=True):
        np.testing.assert_allclose(ours.get_path().vertices, theirs.get_path().vertices)
        np.testing.assert_allclose(ours.get_extents().bounds, theirs.get_extents().bounds)


@pytest.mark.parametrize("config", [None, CurriculumConfig()])
def test_equal_difficulties_are_one_bar(config):
    ax = plot_difficulty(scored([0.5] * 20), config=config)
    edges, heights = bars(ax)
    assert np.count_nonzero(heights) == 1
    assert heights.sum() * np.diff(edges)[0] == pytest.approx(1)


def test_histogram_is_drawn_on_the_axes_given():
    _, (left, right) = plt.subplots(1, 2)
    assert plot_difficulty(scored([0.1, 0.2]), ax=right) is right
    assert right.patches and not left.patches


# --- show_extremes ------------------------------------------------------------------------------------------------


def shown(figure):
    """For each cluster its name, and the titles and pixel values of its images from left to right."""
    rows = {}
    for ax in figure.axes:
        row = rows.setdefault(ax.get_subplotspec().rowspan.start, {"name": "", "titles": [], "values": []})
        row["name"] += "".join(text.get_text() for text in ax.texts)
        if ax.images:
            row["titles"].append(ax.get_title())
            row["values"].append(int(np.max(ax.images[0].get_array())))
    return list(rows.values())


def test_extremes_are_the_easiest_and_the_hardest_rows_of_each_cluster_in_order():
    rng = np.random.default_rng(0)
    difficulty, cluster = rng.permutation(60) / 60, np.arange(60) % 3
    figure = show_extremes(scored(difficulty.tolist(), cluster.tolist()), "image", clusters=[2, 0], n=4)
    assert isinstance(figure, Figure)
    rows = shown(figure)
    assert [row["name"] for row in rows] == ["cluster 2", "cluster 0"]
    for row, k in zip(rows, (2, 0), strict=True):
        ranked = sorted(np.flatnonzero(cluster == k), key=lambda index: difficulty[index])
        expected = [*ranked[:4], *ranked[-4:]]
        assert row["values"] == expected
        assert row["titles"] == [f"{difficulty[index]:.2f}" for index in expected]


@pytest.mark.parametrize("size, easiest, hardest", [(1, 1, 0), (3, 3, 0), (4, 3, 1), (5, 3, 2), (6, 3, 3), (9, 3, 3)])
def test_a_small_cluster_shows_each_row_once(size, easiest, hardest):
    difficulty = np.arange(size) / 10
    figure = show_extremes(scored(difficulty.tolist()), "image", n=3)
    [row] = shown(figure)
    assert row["values"] == [*range(easiest), *range(size - hardest, size)]
    places = [ax.get_subplotspec().colspan.start for ax in figure.axes if ax.images]
    assert places == [*range(easiest), *range(7 - hardest, 7)]  # the hardest row at the right end


def test_the_five_largest_clusters_are_shown_unless_others_are_asked_for():
    sizes = {0: 3, 1: 9, 2: 5, 4: 7, 6: 2, 7: 4, 9: 6}
    cluster = [k for k, size in sizes.items() for _ in range(size)]
    figure = show_extremes(scored((np.arange(36) / 36).tolist(), cluster), "image", n=1)
    assert [row["name"] for row in shown(figure)] == [f"cluster {k}" for k in (1, 4, 9, 2, 7)]


def test_clusters_that_are_not_in_the_dataset_are_not_shown():
    figure = show_extremes(scored([0.1, 0.2, 0.3], cluster=[8, 3, 8]), "image", n=1)
    assert [row["name"] for row in shown(figure)] == ["cluster 8", "cluster 3"]


def test_rows_without_a_difficulty_are_no_extremes():
    figure = show_extremes(scored([0.3, None, 0.1, 0.2, None]), "image", n=2)
    assert shown(figure)[0]["values"] == [2, 3, 0]


def test_extremes_by_another_column():
    dataset = scored([0.1, 0.2, 0.3], loss=[5.0, 7.0, 2.0])
    assert shown(show_extremes(dataset, "image", n=1, column="loss"))[0]["titles"] == ["2.00", "7.00"]


# --- errors -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plot, message",
    [
        (
            lambda dataset: plot_difficulty(dataset, "dificulty"),
            r"'dificulty' is not in .*Did you mean 'difficulty'\?",
        ),
        (
            lambda dataset: show_extremes(dataset, "image", column="loss"),
            r"'loss' is not in the dataset \(columns: ",
        ),
        (lambda dataset: show_extremes(dataset, "images"), r"'images' is not in .*Did you mean 'image'\?"),
        (lambda dataset: show_extremes(dataset, clusters=[0, 7]), r"no clusters \[7\]; there are \[0"),
        (
            lambda dataset: show_extremes(dataset.remove_columns("image")),
            r"No column of images, audio, video or text",
        ),
        (lambda dataset: plot_difficulty(dataset, "image"), r"Column 'image' holds struct.*not numbers"),
    ],
)
def test_a_missing_column_is_named(plot, message):
    with pytest.raises(ValueError, match=message):
        plot(scored([0.1, 0.2]))


def test_a_missing_column_leaves_no_figure_behind():
    with pytest.raises(ValueError, match="loss"):
        plot_difficulty(scored([0.1, 0.2]), "loss")
    assert plt.get_fignums() == []


# --- text and sound -----------------------------------------------------------------------------------------------


def test_texts_are_shown_by_their_beginnings_as_they_are():
    texts = ["$x^2 < \\frac{1}$ " + "long " * 100, "<b>second</b>"]
    dataset = scored([0.1, 0.9]).remove_columns("image").add_column("text", texts)
    figure = show_extremes(dataset, n=1)
    figure.canvas.draw()  # a $ is no formula
    words = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert words[0].replace("\n", " ").startswith("$x^2 < \\frac{1}$ long long")
    assert len(words[0]) < 100
    assert words[1:] == ["cluster 0", "<b>second</b>"]


def test_sounds_are_shown_as_waveforms(clips):
    dataset = clips.add_column("difficulty", np.linspace(0, 1, 30).tolist()).add_column("cluster", [0] * 30)
    figure = show_extremes(dataset, "audio", n=1)
    samples = [line.get_ydata() for ax in figure.axes for line in ax.lines]
    for heard, row in zip(samples, (0, 29), strict=True):
        np.testing.assert_array_equal(heard, read_row(dataset, row, "audio"))
        assert np.ptp(heard) > 0.1


def test_a_dataset_without_clusters_is_one_line():
    dataset = scored([0.1, 0.2, 0.3]).remove_columns("cluster")
    assert [row["name"] for row in shown(show_extremes(dataset, "image", n=1))] == ["all rows"]


def test_the_figure_is_as_high_as_it_has_lines_and_is_shown_once_in_a_notebook():
    dataset = scored([0.1, 0.2, 0.3, 0.4], cluster=[0, 1, 2, 3])
    heights = [show_extremes(dataset, clusters=list(range(lines))).get_figheight() for lines in (1, 2, 4)]
    assert np.diff(heights).tolist() == pytest.approx([heights[1] - heights[0], 2 * (heights[1] - heights[0])])
    assert heights[0] < 2 and plt.get_fignums() == []


def test_no_end_of_the_warm_up_is_marked_beyond_the_training():
    assert [text.get_text() for text in plot_schedule(CurriculumConfig(warmup_steps=50), 100).texts] == [
        "uniform from here"
    ]
    assert len(plot_schedule(CurriculumConfig(warmup_steps=1.0), 100).texts) == 0

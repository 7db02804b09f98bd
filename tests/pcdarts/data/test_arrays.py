"""Own images from .npz files: values, order, the test part, and files that are refused in one line."""

import pickle

import numpy as np
import pytest
import torch

from pcdarts.config import RetrainConfig, SearchConfig
from pcdarts.data.arrays import read_arrays
from pcdarts.data.batches import check_dataset, retrain_batches, search_batches
from pcdarts.data.sources import described, load
from tests.pcdarts.data.own_images import pixels, write_arrays

CPU = torch.device("cpu")


def config(path, of=SearchConfig, **changes):
    return described(of(dataset="arrays", data_dir=str(path), **changes))[0]


def save(path, images, labels, **others):
    np.savez(path, train_images=images, train_labels=labels, **others)
    return path


def test_images_keep_their_values_and_labels_in_a_balanced_order(tmp_path):
    path = write_arrays(tmp_path / "own.npz", classes=4, size=(12, 9), channels=5, train=40, test=8)
    data = load(config(path))
    images, labels = pixels(40, 4, 12, 9, 5)
    assert data.train.images.shape == (40, 5, 12, 9) and data.train.images.dtype == torch.uint8
    stored = {image.transpose(2, 0, 1).tobytes(): label for image, label in zip(images, labels, strict=True)}
    found = {image.numpy().tobytes(): label for image, label in zip(*data.train, strict=True)}
    assert found == stored
    for count in (8, 20, 36):
        assert data.train.labels[:count].bincount().tolist() == [count // 4] * 4
    assert torch.equal(data.test.images.permute(0, 2, 3, 1), torch.from_numpy(pixels(8, 4, 12, 9, 5, seed=1)[0]))


def test_statistics_are_those_of_the_training_images(tmp_path):
    path = write_arrays(tmp_path / "own.npz", channels=2, train=30, test=6)
    info = load(config(path)).info
    images = pixels(30, 3, 8, 8, 2)[0] / 255
    np.testing.assert_allclose(info.mean, images.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(info.std, images.std(axis=(0, 1, 2)), rtol=1e-12)
    assert info.crop_padding == 1 and info.flip and info.train_images == 30


def test_what_a_configuration_and_a_study_learn_of_them(tmp_path):
    path = write_arrays(tmp_path / "own.npz", classes=4, size=(28, 20), channels=1, train=40, test=8)
    found, description = described(RetrainConfig(dataset="arrays", data_dir=str(path)))
    assert (found.classes, found.image_channels, found.image_height, found.image_width) == (4, 1, 28, 20)
    assert found.data_fingerprint == description.fingerprint and found.data_fingerprint.startswith(
        "40+8 images, 1x28x20, "
    )
    assert (description.train_images, description.test_images) == ((10,) * 4, (2,) * 4)
    assert (description.crop_padding, description.flip) == (2, True)
    assert description.classes == ("0", "1", "2", "3") and description.place == str(path) and description.in_memory
    assert check_dataset(RetrainConfig(dataset="arrays", data_dir=str(path))).summary == (
        f"arrays: 4 classes, 1 x 28 x 20 pixels, 40 training and 8 test images, in {path}; test images: test_images"
    )


def test_without_test_images_a_fifth_of_every_class_is_split_off(tmp_path):
    path = write_arrays(tmp_path / "own.npz", classes=3, train=31)
    found, description = described(SearchConfig(dataset="arrays", data_dir=str(path)))
    assert (description.train_images, description.test_images) == ((9, 8, 8), (2, 2, 2))
    rows = list(map(int, description.split_off))
    images, labels = pixels(31, 3, 8, 8, 3)
    test = load(found).test
    assert rows == sorted(rows) and sorted(test.labels.tolist()) == labels[rows].tolist()
    whole = {image.numpy().tobytes() for part in load(found)[1:] for image in part.images}
    assert whole == {image.transpose(2, 0, 1).tobytes() for image in images}


def test_test_images_that_are_training_images_are_named(tmp_path):
    images, labels = pixels(30, 3, 8, 8, 3)
    others, test_labels = pixels(6, 3, 8, 8, 3, seed=1)
    others[[1, 4]] = images[[20, 7]]
    path = save(tmp_path / "own.npz", images, labels, test_images=others, test_labels=test_labels)
    found, description = described(SearchConfig(dataset="arrays", data_dir=str(path)))
    assert description.in_both == ("1", "4")
    assert "2 of them are copies of training images (1, 4): keep each in one part only" in check_dataset(found).summary
    images[::2] = images[1::2]
    _, description = described(SearchConfig(dataset="arrays", data_dir=str(save(path, images, labels))))
    assert set() != set(description.in_both) <= set(description.split_off)
    pairs = {str(int(row) ^ 1) for row in description.in_both}
    assert not pairs & set(description.split_off)


def test_images_are_resized(tmp_path):
    path = write_arrays(tmp_path / "own.npz", size=(20, 12), channels=5, train=30)
    found = config(path, image_size=6)
    assert (found.image_height, found.image_width) == (6, 6)
    assert found.data_fingerprint == config(path).data_fingerprint  # the same images
    assert load(found).train.images.shape == (24, 5, 6, 6)
    weights, alpha = search_batches(found, CPU)
    assert next(weights.in_order(50))[0].shape == (12, 5, 6, 6) and len(alpha) == 12


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 128, 255], np.uint8), [0, 128, 255]),
        (np.array([0.0, 0.5, 1.0], np.float32), [0, 128, 255]),
        (np.array([0, 257 * 128, 65535], np.uint16), [0, 128, 255]),
        (np.array([0.2, 0.4, 0.6], np.float64), [51, 102, 153]),
        (np.array([0, 128, 255], np.int64), [0, 128, 255]),
        (np.array([0, 128, 255], np.float32), [0, 128, 255]),
        (np.array([0, 128, 255], np.uint16), [0, 128, 255]),
    ],
)
def test_values_are_scaled_from_the_range_of_their_type(tmp_path, values, expected):
    images = np.broadcast_to(values, (4, 2, 3))
    path = save(tmp_path / "own.npz", images, [0, 0, 1, 1], test_images=images, test_labels=[0, 1, 1, 0])
    assert read_arrays(path).train.images[0, 0].tolist() == [expected] * 2


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int64, np.uint64])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
def test_labels_of_any_integers(tmp_path, kind, shape):
    path = save(tmp_path / "own.npz", np.zeros((4, 2, 2), np.uint8), np.array([0, 1, 0, 1], kind).reshape(shape))
    train, test, classes, *_ = read_arrays(path)
    assert sorted(train.labels.tolist()) == sorted(test.labels.tolist()) == [0, 1] and classes == 2
    assert train.labels.dtype == torch.int64


IMAGES = np.zeros((4, 2, 2), np.uint8)
LABELS = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"train_labels": None},
            "own.npz has the keys train_images, but must have train_images and train_labels; rename",
        ),
        ({"train_images": None, "x_train": IMAGES}, "own.npz has the keys train_labels, x_train, but must have"),
        ({"test_images": IMAGES}, "test_labels is missing"),
        ({"train_labels": LABELS[:3]}, "train_images has 4 images, but train_labels 3 labels"),
        ({"train_labels": LABELS - 1}, "train_labels has the label -1, but labels must be 0, 1, 2"),
        ({"train_labels": LABELS * 2}, "class 1 has no images"),
        ({"train_labels": LABELS / 1}, "train_labels is of type float64 .*, but must be integers"),
        ({"train_labels": np.eye(4, dtype=int)}, r"shape \(4, 4\), but must be integers of shape \(N,\)"),
        (
            {"train_labels": np.array(["a", "b", "a", "b"])},
            r"type <U1 .*\(train_labels, return_inverse=True\)\[1\] makes",
        ),
        ({"train_labels": np.array([0, 1, 0, None])}, "train_labels cannot be read .*allow_pickle"),
        ({"train_images": np.array([IMAGES[0], None, 0, 0], object)}, "train_images cannot be read .*allow_pickle"),
        ({"train_images": IMAGES.astype(str)}, "train_images cannot be used .*, but must be numbers"),
        ({"train_images": np.zeros((4, 17, 2, 17), np.uint8)}, r"\(4, 17, 2, 17\), but must be \(N, height, width\)"),
        (
            {"train_images": np.zeros((4, 3, 32, 32), np.uint8)},
            "channels; move channels to the last axis with numpy.movea",
        ),
        (
            {"train_images": np.zeros((4, 5, 16, 16), np.uint8)},
            r"looks like \(N, channels, .*moveaxis\(train_images, 1, 3",
        ),
        ({"train_images": np.zeros((4, 2), np.uint8)}, r"\(4, 2\), but must be \(N, height, width\)"),
        ({"train_images": np.zeros((0, 2, 2), np.uint8)}, r"\(0, 2, 2\), but must be"),
        ({"train_images": IMAGES - 0.5}, "train_images cannot be used .float64 values from -0.5 to -0.5 are neither"),
        ({"train_images": IMAGES + np.nan}, "float64 values from nan to nan .*; convert it to uint8"),
        ({"train_images": IMAGES.astype(np.int64) + 256}, "int64 values from 256 to 256"),
        ({"test_images": IMAGES[:, :1], "test_labels": LABELS}, r"are 1 x 2 x 2 .*, but test_images are 1 x 1 x 2"),
        (
            {"test_images": IMAGES, "test_labels": LABELS + 1},
            "test_labels has the label 2, but train_labels only 0 to 1",
        ),
        (
            {"test_images": IMAGES, "test_labels": LABELS * 0},
            "1 of 2 classes have no images for testing: 1; every class",
        ),
        ({"train_labels": np.array([0, 0, 0, 1])}, "1 of 2 classes have no images for training: 1; every class"),
    ],
)
def test_arrays_that_cannot_be_used_are_named_in_one_line(tmp_path, arrays, message):
    path = tmp_path / "own.npz"
    arrays = {"train_images": IMAGES, "train_labels": LABELS} | arrays
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=message) as caught:
        check_dataset(SearchConfig(dataset="arrays", data_dir=str(path)))
    assert "\n" not in str(caught.value) and (str(path) in str(caught.value) or "every class" in message)


def test_files_that_are_no_arrays_are_named(tmp_path):
    with pytest.raises(ValueError, match="none.npz is not a file; set data_dir to a file NAME.npz"):
        read_arrays(tmp_path / "none.npz")
    with pytest.raises(ValueError, match="is a folder; use --dataset folder, or set data_dir to a file NAME.npz"):
        read_arrays(tmp_path)
    np.save(tmp_path / "one.npy", IMAGES)
    with pytest.raises(ValueError, match="one.npy holds a single array; write an .npz file"):
        read_arrays(tmp_path / "one.npy")
    path = save(tmp_path / "own.npz", IMAGES, LABELS)
    for content in (b"", b"text", pickle.dumps({"train_images": IMAGES}), path.read_bytes()[:-30]):
        (tmp_path / "bad.npz").write_bytes(content)
        with pytest.raises(ValueError, match="bad.npz is not an .npz file; write it with numpy.savez$") as caught:
            read_arrays(tmp_path / "bad.npz")
        assert "\n" not in str(caught.value)


def test_a_relative_path_is_one_of_the_working_directory(tmp_path, monkeypatch):
    write_arrays(tmp_path / "own.npz", train=30)
    monkeypatch.chdir(tmp_path)
    found, description = described(SearchConfig(dataset="arrays", data_dir="own.npz"))
    assert found.data_dir == "own.npz" and description.place == str(tmp_path / "own.npz")


def test_images_other_than_those_of_the_fingerprint_are_refused(tmp_path):
    path = write_arrays(tmp_path / "own.npz", train=30)
    found = config(path)
    images, labels = pixels(30, 3, 8, 8, 3)
    images[7, 0, 0, 0] ^= 1
    save(path, images, labels)
    with pytest.raises(ValueError, match="arrays in .*own.npz holds 24.6 images, .* but the study began with 24.6"):
        load(found)
    with pytest.raises(ValueError, match="restore the images, or give --study another name"):
        described(found)


def test_the_fingerprint_depends_on_every_pixel_label_and_place(tmp_path):
    images, labels = pixels(30, 3, 8, 8, 3)
    others = {"test_images": images[:6] + 1, "test_labels": np.arange(6) % 3}

    def fingerprint(images, labels, **others):
        return config(save(tmp_path / "own.npz", images, labels, **others)).data_fingerprint

    first = fingerprint(images, labels, **others)
    assert fingerprint(images.copy(), labels.astype(np.uint8), **others) == first
    pixel, swapped = images.copy(), images.copy()
    pixel[29, 7, 7, 2] ^= 1
    swapped[[0, 1]] = images[[1, 0]]  # of one class
    relabeled, test_pixel = labels.copy(), others["test_images"].copy()
    relabeled[[0, 29]] = labels[[29, 0]]
    test_pixel[5, 0, 0, 0] ^= 1
    found = {
        first,
        fingerprint(pixel, labels, **others),
        fingerprint(swapped, labels, **others),
        fingerprint(images, relabeled, **others),
        fingerprint(images, labels, **others | {"test_images": test_pixel}),
        fingerprint(images, labels, **others | {"test_labels": others["test_labels"][::-1]}),
        fingerprint(images, labels),
    }
    assert len(found) == 7


def test_images_that_were_split_off_count_in_no_statistics(tmp_path):
    images, labels = pixels(30, 3, 8, 8, 1)
    path = save(tmp_path / "own.npz", images, labels)
    rows = list(map(int, described(SearchConfig(dataset="arrays", data_dir=str(path)))[1].split_off))
    before = load(config(path)).info
    images[rows] = 255
    data = load(config(save(path, images, labels)))
    assert (data.info.mean, data.info.std) == (before.mean, before.std) and data.test.images.unique().tolist() == [255]


def test_every_class_is_in_every_part(tmp_path):
    images, labels = pixels(30, 3, 8, 8, 3)
    path = save(tmp_path / "own.npz", images[:22], labels[:22], test_images=images, test_labels=labels)
    assert labels[:22].tolist().count(2) == 2
    found = config(path)
    assert all(batches.epoch for batches in search_batches(found, CPU))
    with pytest.raises(ValueError, match=r"1 of 3 classes have no images for alpha: 2"):
        search_batches(config(path, train_portion=0.9), CPU)
    with pytest.raises(ValueError, match="1 of 3 classes have no images for validation: 2"):
        retrain_batches(config(path, RetrainConfig), CPU)
    assert retrain_batches(config(path, RetrainConfig, validation_portion=0.0), CPU)[1] is None
    with pytest.raises(ValueError, match="have no images for the weights"):
        check_dataset(config(path, max_images=4))


def test_classes_from_one_to_a_thousand(tmp_path):
    for classes in (1, 1000):
        found = config(write_arrays(tmp_path / "own.npz", classes=classes, size=(2, 2), train=4 * classes))
        assert found.classes == classes and search_batches(found, CPU)[0].classes == classes
    with pytest.raises(ValueError, match="1001 classes, but must have at most 1000"):
        config(write_arrays(tmp_path / "own.npz", classes=1001, size=(2, 2), train=4004))

"""Vectors are made once, stay where they are while the matrix grows, and are the same read as mapped."""

import numpy as np
import torch

from mars.preferences.dialogue import Rendered
from mars.reward.tokens import text_key
from mars.reward.vectors import Vectors


def texts(*numbers):
    return [Rendered("prompt", f" reply {i}") for i in numbers]


class Counting:
    """Vectors of `texts`: d times the number; remembers which were asked for."""

    def __init__(self, d=3, **bound):
        self.asked = []
        self.vectors = Vectors(self._fill, **bound)
        self._d = d

    def _fill(self, new):
        numbers = [int(text.response.split()[-1]) for text in new.values()]
        self.asked += numbers
        made = np.repeat(np.array(numbers, dtype=np.float32)[:, None], self._d, axis=1)
        self.vectors.put(list(new), made, np.array(numbers, dtype=np.uint8) % 4)


def test_a_text_is_made_once_however_often_it_is_asked_for():
    made = Counting()
    for _ in range(2):
        found, cuts = made.vectors.of(texts(5, 2, 5))
        np.testing.assert_array_equal(found, [[5] * 3, [2] * 3, [5] * 3])
        assert cuts.tolist() == [1, 2, 1]
    assert made.asked == [5, 2]
    assert (len(made.vectors), made.vectors.dimension) == (2, 3)


def test_what_was_taken_is_a_copy_and_outlives_growth():
    made = Counting()
    first = made.vectors.take(made.vectors.places(texts(1)))
    for i in range(2, 40):
        made.vectors.places(texts(i))
    np.testing.assert_array_equal(first.numpy(), [[1] * 3])
    np.testing.assert_array_equal(made.vectors.of(texts(*range(1, 40)))[0][:, 0], range(1, 40))
    first.zero_()
    np.testing.assert_array_equal(made.vectors.of(texts(1))[0], [[1] * 3])


def test_a_large_matrix_is_read_and_not_mapped_and_has_the_same_vectors():
    made, large = Counting(), Counting(mapped=100)
    places = [one.vectors.places(texts(*range(100)))[[3, 4, 5, 99, 0, 1, 0, 7]] for one in (made, large)]
    mapped, read = (one.vectors.take(at) for one, at in zip((made, large), places, strict=True))
    assert torch.equal(read, mapped)
    assert read[:, 0].tolist() == [3, 4, 5, 99, 0, 1, 0, 7]
    assert large.vectors.take(places[1][:0]).shape == (0, 3)


def test_texts_are_told_apart_by_their_keys():
    made = Counting()
    made.vectors.put([text_key(texts(7)[0])], np.full((1, 3), 9.0, dtype=np.float32), np.zeros(1, dtype=np.uint8))
    np.testing.assert_array_equal(made.vectors.of(texts(7, 8))[0][:, 0], [9, 8])
    assert made.asked == [8]

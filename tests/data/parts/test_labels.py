import numpy as np

from protoquant.data.parts.labels import label_masks, pack_labels, unpack_labels


def test_masks_become_numbers_in_their_order_and_survive_packing() -> None:
    masks = [np.array(rows, dtype=bool) for rows in ([[1, 0, 0]], [[0, 0, 0]], [[0, 0, 1]])]
    labels = label_masks(masks)
    assert (labels.dtype, labels.tolist()) == (np.uint8, [[1, 0, 3]])
    assert unpack_labels(pack_labels(labels)).tolist() == [[1, 0, 3]]

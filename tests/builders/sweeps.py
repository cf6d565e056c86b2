"""Tables of a sweep that never ran."""

import numpy as np
import pandas as pd

KEYS = ["quantize.size", "train.temperature", "train.grounding"]


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Twelve trials that are done, one that failed with a hostile text, one that was stopped; 20 heads of each."""
    rows, heads = [], []
    for number, (size, temperature) in enumerate(
        [(size, t) for size in (16, 32, 64, 256, 1024, 2048) for t in (0.03, 0.05)], start=1
    ):
        accuracy = min(0.97, 0.55 + 0.12 * np.log10(size) + 0.002 * (number % 3))
        class_size = 2 + np.log2(size) / 2 + 10 * temperature
        rows.append(
            {
                "trial": f"t{number}",
                "number": number,
                "quantize.size": size,
                "train.temperature": temperature,
                "train.grounding": ("centroid", "medoid")[number % 2],
                "state": "done",
                "error": "",
                "seconds": 3.0 + size / 200,
                "k": float(size),
                "accuracy": accuracy,
                "n": 200.0,
                "class_size": class_size,
                "prototypes": float(int(class_size * 16)),
                "nonzeros": float(int(class_size * 20)),
                "temperature": temperature,
                "probe_top1": 0.885,
            }
        )
        for step, many in enumerate(np.geomspace(0.5, class_size * 1.5, 20)):
            heads.append(
                {
                    "trial": f"t{number}",
                    "k": size,
                    "temperature": temperature,
                    "penalty": 0.1 / (step + 1),
                    "nonzeros": int(many * 20),
                    "prototypes": int(many * 18),
                    "class_size": many,
                    "train_top1": 0.9,
                    "accuracy": accuracy - 0.2 * np.exp(-step / 5) - 0.03,
                    "final": False,
                }
            )
    nothing = dict.fromkeys(("k", "accuracy", "n", "class_size", "prototypes", "nonzeros"), float("nan"))
    hostile = "</script><script>document.title='owned'</script>"
    rows.append(rows[0] | nothing | {"trial": "bad", "number": 13, "state": "failed", "error": f"no space {hostile}"})
    rows.append(rows[0] | nothing | {"trial": "late", "number": 14, "state": "stopped", "error": "ended early"})
    return pd.DataFrame(rows), pd.DataFrame(heads)

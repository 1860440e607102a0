"""What `upg eval` measures (src/runtime/evaluate.cc), over logits: the same windows, the same means."""

import numpy as np


def cut_windows(ids: list[int], context: int, windows: int) -> list[list[int]]:
    """Windows of `context` tokens without overlap; `windows` of them evenly spread, 0: all."""
    length = min(context, len(ids))
    available = len(ids) // length
    count = min(windows, available) if windows > 0 else available
    starts = [i * available // count * length for i in range(count)]
    return [ids[start : start + length] for start in starts]


def log_softmax(logits: np.ndarray) -> np.ndarray:
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=1, keepdims=True))


class Scores:
    """Sums over windows. Logits are [tokens, vocabulary]."""

    def __init__(self):
        self.log_probability = self.source_log_probability = self.kl = 0.0
        self.same_top = self.predicted = self.positions = 0

    def add(self, ids: list[int], model: np.ndarray, source: np.ndarray) -> None:
        log_q, log_p = log_softmax(model), log_softmax(source)
        rows = np.arange(len(ids) - 1)
        self.log_probability += log_q[rows, ids[1:]].sum()
        self.source_log_probability += log_p[rows, ids[1:]].sum()
        self.kl += (np.exp(log_p) * (log_p - log_q)).sum()
        self.same_top += int((model.argmax(axis=1) == source.argmax(axis=1)).sum())
        self.predicted += len(ids) - 1
        self.positions += len(ids)

    def result(self) -> dict:
        """As `upg eval --json` names them."""
        return {"perplexity": float(np.exp(-self.log_probability / self.predicted)),
                "source_perplexity": float(np.exp(-self.source_log_probability / self.predicted)),
                "kl": float(self.kl / self.positions),
                "top1_agreement": self.same_top / self.positions}

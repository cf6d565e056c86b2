"""VQ-EMA in two processes."""

import pytest
import torch
from torch import distributed, multiprocessing

from protoquant.codebook.ema import ema
from protoquant.codebook.feature_norm import FeatureNorm
from protoquant.codebook.learner_config import EmaConfig
from protoquant.codebook.stream import TensorSource

METRICS = ["cosine", "euclidean"]


def rows(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def share_of(rank, tokens, batch, world):
    """The images of one process, so that its batches joined with the others' are the batches of one process."""
    return torch.cat([part.chunk(world)[rank] for part in tokens.split(batch)])


def run_rank(rank, folder):
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    tokens, codes = distributed_case()
    for metric in METRICS:
        epoch = in_order(share_of(rank, tokens, 20, 2), codes, metric, batch=10)
        torch.save((epoch.codes, epoch.usage.counts, epoch.usage.health().numbers()), f"{folder}/{metric}{rank}.pt")
    distributed.destroy_process_group()


def distributed_case():
    return rows(60, 4).abs(), torch.cat([rows(4, 4, 1).abs(), -50.0 * torch.ones(2, 4)])


def in_order(tokens, codes, metric, batch):
    """One epoch, with the images in their own order."""
    draws = torch.Generator().manual_seed(0)
    places = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(0)).argsort()
    config = EmaConfig(revive_every=1, revive_until=1.0)
    source = TensorSource.of_rows(tokens[places])
    return next(ema(source, codes, FeatureNorm("none"), config, metric=metric, epochs=1, batch=batch, generator=draws))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    # forked, not spawned: torch would be loaded twice more
    multiprocessing.start_processes(run_rank, (str(folder),), nprocs=2, start_method="fork")
    return folder


@pytest.mark.parametrize("metric", METRICS)
def test_two_processes_learn_what_one_does_on_their_joined_batches(folder, metric):
    tokens, codes = distributed_case()
    alone = in_order(tokens, codes, metric, batch=20)
    assert alone.revived == 2
    for rank in range(2):
        found, counts, numbers = torch.load(folder / f"{metric}{rank}.pt")
        assert torch.allclose(found, alone.codes, atol=1e-6)
        assert torch.equal(counts, alone.usage.counts)
        assert numbers == pytest.approx(alone.usage.health().numbers(), abs=1e-6)

"""From samples to batches.

Read in this order: a `Dataset` holds samples (dataset.py), a `Sampler` says in which order they
are used (sampler.py), `default_collate` joins samples into a batch (collate.py), and a `DataLoader`
drives the three (fetch.py, dataloader.py), if asked in processes of their own (epochs.py,
worker.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinygrad_edu.names.missing import later
from tinygrad_edu.utils.data.collate import (
    collate,
    default_collate,
    default_collate_fn_map,
    default_convert,
)
from tinygrad_edu.utils.data.dataloader import DataLoader
from tinygrad_edu.utils.data.dataset import (
    ChainDataset,
    ConcatDataset,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)
from tinygrad_edu.utils.data.info import WorkerInfo, get_worker_info
from tinygrad_edu.utils.data.sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
)

if TYPE_CHECKING:
    from tinygrad_edu.utils.data.derived import StackDataset, random_split
    from tinygrad_edu.utils.data.distributed import DistributedSampler
    from tinygrad_edu.utils.data.weighted import WeightedRandomSampler
else:
    __getattr__, __dir__ = later(
        __name__,
        {
            "": ["distributed"],
            "distributed": ["DistributedSampler"],
            "weighted": ["WeightedRandomSampler"],
            "derived": ["StackDataset", "random_split"],
        },
    )

__all__ = [
    "BatchSampler", "ChainDataset", "ConcatDataset", "DataLoader", "Dataset", "DistributedSampler",
    "IterableDataset", "RandomSampler", "Sampler", "SequentialSampler", "StackDataset", "Subset",
    "SubsetRandomSampler", "TensorDataset", "WeightedRandomSampler", "WorkerInfo", "collate",
    "default_collate", "default_collate_fn_map", "default_convert", "get_worker_info",
    "random_split",
]  # fmt: skip

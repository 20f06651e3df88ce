"""The epochs of a DataLoader whose batches worker processes prepare (worker.py)."""

from __future__ import annotations

import multiprocessing
from collections import deque
from contextlib import suppress
from typing import Any

from tinygrad_edu.utils.data.dataloader import DataLoader, Epoch
from tinygrad_edu.utils.data.worker import Ended, Failure, Job, Unreadable, Workers


class WorkerEpochs(Epoch):
    """Epochs prepared by worker processes.

    `turns` names, for each batch still to come, the worker that prepares it.  Whoever has delivered
    a batch gets the next task, so batch i is made by worker i modulo their number, as in torch.
    """

    def _start(self, loader: DataLoader[Any]) -> None:
        job = Job(
            loader.dataset,
            loader.batch_sampler is not None,
            loader.collate_fn,
            loader.drop_last,
            loader.worker_init_fn,
            self._base_seed,
            loader.num_workers,
        )
        self._in_order = loader.in_order
        self._keep_workers = loader.persistent_workers
        self._prefetch = loader.prefetch_factor
        if not self._prefetch:
            raise AssertionError(f"prefetch_factor={self._prefetch} must be > 0 with workers")
        context: Any = loader.multiprocessing_context or multiprocessing
        self._workers = Workers(job, context, loader.timeout)
        self._epoch = 0
        self._fill()

    def restart(self, loader: DataLoader[Any]) -> None:
        """Begin a new epoch with the same workers."""
        self._epoch_so_far.running = False
        self._begin(loader)
        self._epoch += 1
        self._pass_over()
        self._fill()
        self._pass_over_stream()

    def _fill(self) -> None:
        self._turns: deque[int] = deque()
        for _ in range(self._prefetch or 0):
            for worker in range(len(self._workers.links)):
                self._give(worker)

    def _give(self, worker: int) -> None:
        """Send the next task to the worker, if there is one."""
        with suppress(StopIteration):
            indices = self._draw()
            self._workers.send(worker, self._epoch, indices)
            self._turns.append(worker)

    @property
    def running(self) -> bool:
        """Its workers have not been stopped."""
        return self._workers.running

    def _next(self) -> Any:
        try:
            return self._receive()
        except Exception:
            raise
        except BaseException as error:  # an answer may be lost between the link and `turns`
            self._note(error)
            self._turns.clear()
            self._workers.stop()
            raise

    def _receive(self) -> Any:
        while self._turns:
            worker = self._turns[0]
            if not self._in_order:
                worker = self._workers.first_ready(sorted(set(self._turns)))
            answer = self._workers.receive(worker, self._epoch)
            self._turns.remove(worker)
            if isinstance(answer, Ended):
                self._turns = deque(other for other in self._turns if other != worker)
                continue
            self._give(worker)
            if isinstance(answer, Failure | Unreadable):
                raise answer.error()
            return answer
        if not self._keep_workers:
            self._workers.stop()
        raise StopIteration

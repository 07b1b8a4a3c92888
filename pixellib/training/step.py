"""TrainState: a training under way, with the three things that are done to it: step, save, restore."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pixellib import checkpoints, devices, seeds
from pixellib.checkpoints import CheckpointError
from pixellib.models.base import ImageModel
from pixellib.optim import Muon, averaged_model
from pixellib.training.settings import Settings


class NonFiniteLoss(RuntimeError):
    """The loss or the weights became NaN or infinite; the last good state is kept."""


class TrainState:
    """A training under way: a model, its optimisers, its averaged weights, and how far it got.

    num_steps: done so far. losses: of the steps since `take_losses`. history, seconds: as in `Training`. path: of the
    resume state, or None. identity: what is written into it. compile: whether the loss is compiled (see `fit`).

    >>> from pixellib.models import IWAE
    >>> settings = Settings(steps=2, batch_size=4)
    >>> state = TrainState(IWAE(num_latents=(2,), num_hidden=(4,)), settings, seed=0, device=torch.device("cpu"))
    >>> images = torch.zeros(4, 1, 28, 28, dtype=torch.uint8)
    >>> state.step(torch.arange(4), draw=lambda rows: (images[rows], None))
    >>> state.num_steps, len(state.take_losses())
    (1, 1)
    """

    def __init__(
        self,
        model: ImageModel,
        settings: Settings,
        seed: int,
        device: torch.device,
        path: Path | None = None,
        identity: Mapping[str, Any] | None = None,
        compile: bool = False,
    ):
        self.model, self.settings, self.seed, self.device = model, settings, seed, device
        self.path, self.identity = path, identity
        self.world, self.rank = devices.world_and_rank()
        self.average = averaged_model(model, settings.ema_decay) if settings.ema_decay else None
        self.optimisers = _optimisers(model, settings)
        self.objective: nn.Module = _Objective(model)
        if compile:
            devices.check_compiler(device)
            self.objective.compile()
        if self.world > 1:
            ids = [device] if device.type == "cuda" else None
            self.objective = DistributedDataParallel(self.objective, device_ids=ids, broadcast_buffers=False)
        self.num_steps = 0
        self.losses: list[Tensor] = []
        self.history: list[dict] = []
        self._sum, self._count = 0.0, 0  # of the losses since the last validation
        self._started = time.monotonic()

    @property
    def averaged_model(self) -> ImageModel:
        """The model with averaged weights; the model itself where nothing is averaged."""
        return self.average.module if self.average else self.model

    @property
    def seconds(self) -> float:
        """Of wall-clock time, over all restarts."""
        return time.monotonic() - self._started

    def step(self, rows: Tensor, draw: Callable[[Tensor], tuple[Tensor, Tensor | None]]) -> None:
        """One step of the optimisers, on this process's share of a batch. draw: images and condition of some rows."""
        seeds.seed_step(self.seed, self.num_steps, self.world, self.rank, self.device)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = optimiser.defaults["lr"] * self.settings.lr_factor(self.num_steps)
        parts = rows[self.rank :: self.world].chunk(self.settings.accumulate)
        loss = torch.zeros((), device=self.device)
        for i, part in enumerate(parts):
            x, condition = draw(part)
            synchronise = self.world == 1 or i == len(parts) - 1
            with nullcontext() if synchronise else self.objective.no_sync():
                part_loss = self._loss(x, condition, len(parts))
                part_loss.backward()
            loss += part_loss.detach()
        if self.settings.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.max_grad_norm)
        for optimiser in self.optimisers:
            optimiser.step()
        self.model.zero_grad()
        if self.average:
            self.average.update_parameters(self.model)
        self.losses.append(loss)
        self.num_steps += 1

    def _loss(self, x: Tensor, condition: Tensor | None, num_parts: int) -> Tensor:
        try:
            with devices.autocast(self.device, self.settings.precision):
                return self.objective(x, condition) / num_parts
        except FloatingPointError as error:  # a likelihood refuses what a network gave it
            self.take_losses()  # raises if an earlier loss was the cause
            raise NonFiniteLoss(f"{error} at step {self.num_steps + 1}{self._where_kept()}") from error

    def take_losses(self) -> Tensor:
        """The losses since the last call, float64; NonFiniteLoss, naming the first bad step, if one is not finite."""
        losses = torch.stack(self.losses).cpu().double() if self.losses else torch.empty(0)
        bad = (~torch.isfinite(losses)).nonzero().flatten().tolist()
        if bad:
            step = self.num_steps - len(losses) + bad[0] + 1
            raise NonFiniteLoss(f"the loss is {losses[bad[0]].item()} at step {step}{self._where_kept()}")
        if not all(torch.isfinite(p).all() for p in self.model.parameters()):
            raise NonFiniteLoss(f"the weights are not finite after step {self.num_steps}{self._where_kept()}")
        self.losses.clear()
        self._sum, self._count = self._sum + losses.sum().item(), self._count + len(losses)
        return losses

    def take_mean_loss(self) -> float:
        """The mean of the losses taken since the last call, over all processes."""
        total = torch.tensor([self._sum, self._count], dtype=torch.float64, device=self.device)
        if self.world > 1:
            dist.all_reduce(total)
        self._sum, self._count = 0.0, 0
        return (total[0] / total[1]).item()

    def save(self) -> None:
        """Write the resume state. All losses up to here must have been taken, so that a bad state is never saved."""
        state = {
            "identity": self.identity,
            "identity_hash": checkpoints.identity_hash(self.identity),
            "step": self.num_steps,
            "model": self.model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "average": self.average.state_dict() if self.average else None,
            "history": self.history,
            "since_validation": [self._sum, self._count],
            "seconds": self.seconds,
        }
        checkpoints.save_resume(self.path, state)

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Go on from what `save` wrote. CheckpointError if it does not fit."""
        try:
            checkpoints.restore(self.model, kept["model"], self.path)
            for optimiser, its in zip(self.optimisers, kept["optimisers"], strict=True):
                optimiser.load_state_dict(its)
            if self.average:
                self.average.load_state_dict(kept["average"])
            self.num_steps, self.history = int(kept["step"]), [dict(row) for row in kept["history"]]
            self._sum, self._count = kept["since_validation"]
            self._started = time.monotonic() - kept["seconds"]
        except CheckpointError:
            raise
        except Exception as error:  # whatever is missing or of another form in it, the answer is the same
            message = f"cannot resume from {self.path}: its contents do not fit; delete it to start afresh"
            raise CheckpointError(message) from error

    def _where_kept(self) -> str:
        return f"; the last good state is kept in {self.path}" if self.path and self.path.exists() else ""


class _Objective(nn.Module):
    """The loss as a forward pass, where DistributedDataParallel hooks in."""

    def __init__(self, model: ImageModel):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        return self.model.loss(x, condition)


def _optimisers(model: ImageModel, settings: Settings) -> list[torch.optim.Optimizer]:
    kernels = model.kernels() if settings.muon_lr else []
    others = [p for p in model.parameters() if not any(p is kernel for kernel in kernels)]
    adam = torch.optim.Adam(others, lr=settings.learning_rate, betas=settings.betas, eps=settings.eps, fused=True)
    return [adam, Muon(kernels, lr=settings.muon_lr)] if kernels else [adam]

"""Settings: how a model is trained."""

import math
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from pixellib import devices
from pixellib.optim import SCHEDULES


@dataclass(frozen=True)
class Settings:
    """How to train: in steps, never in wall-clock time, so that a training can be repeated.

    steps: optimiser steps. batch_size: images per step, over all processes. learning_rate: of Adam. muon_lr: learning
    rate of Muon, which then moves the model's `kernels`, if it has any, in place of Adam; or None. Both follow
    `warmup_steps` of linear rise, then `schedule`: "constant", "cosine" (half a wave, which would reach zero one step
    after the last), "exponential" (times `decay` per step) or "wsd" (constant, then in a straight line towards the same
    zero over the last part of the steps, whose share is `decay`). betas, eps: of Adam. ema_decay: decay per step of the
    exponential moving average of the weights (see `optim.averaged_model`), or None. max_grad_norm: longer gradients are
    shortened to this norm, or None. accumulate: parts that a batch is split into; free bits then hold for the mean of
    each part. precision: "auto", "bf16" or "fp32". validate_every: steps between validations; 0: only at the end.

    ValueError, naming the argument, for a value out of range.

    >>> settings = Settings(steps=100, batch_size=20, schedule="cosine", warmup_steps=9)
    >>> settings.lr_factor(0), settings.lr_factor(50)
    (0.1, 0.5)
    """

    steps: int
    batch_size: int
    learning_rate: float = 1e-3
    muon_lr: float | None = None
    schedule: str = "constant"
    decay: float = 1.0
    warmup_steps: int = 0
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    ema_decay: float | None = 0.999
    max_grad_norm: float | None = None
    accumulate: int = 1
    precision: str = "auto"
    validate_every: int = 0

    def __post_init__(self):
        for name in ("steps", "batch_size", "accumulate"):
            _check(name, getattr(self, name), Integral, lambda v: v >= 1, "an integer of at least 1")
        for name in ("warmup_steps", "validate_every"):
            _check(name, getattr(self, name), Integral, lambda v: v >= 0, "an integer of at least 0")
        _check("learning_rate", self.learning_rate, Real, lambda v: 0 < v < math.inf, "a positive number")
        for name in ("muon_lr", "max_grad_norm"):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), Real, lambda v: 0 < v < math.inf, "a positive number or None")
        if self.ema_decay is not None:
            _check("ema_decay", self.ema_decay, Real, lambda v: 0 <= v < 1, "None, or at least 0 and below 1")
        _check("decay", self.decay, Real, lambda v: 0 < v <= 1, "above 0 and at most 1")
        _check("eps", self.eps, Real, lambda v: 0 <= v < math.inf, "a number of at least 0")
        _check("betas", self.betas, tuple | list, lambda v: len(v) == 2, "a pair of numbers")
        for beta in self.betas:
            _check("betas", beta, Real, lambda v: 0 <= v < 1, "at least 0 and below 1")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"unknown schedule {self.schedule!r}; choose one of {', '.join(SCHEDULES)}")
        if self.decay != 1 and self.schedule in ("constant", "cosine"):
            raise ValueError(f"decay is for the schedules exponential and wsd, not for {self.schedule}")
        devices.check_precision(self.precision)

    def lr_factor(self, step: int) -> float:
        """The share of its learning rate that an optimiser has in a step, counted from 0."""
        rise = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return rise * SCHEDULES[self.schedule](step, self.steps, self.decay)


def _check(name: str, value: Any, kind: Any, is_good: Any, expected: str) -> None:
    if isinstance(value, bool) or not isinstance(value, kind) or not is_good(value):
        raise ValueError(f"{name} must be {expected}, got {value!r}")

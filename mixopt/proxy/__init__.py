"""The small transformer and its training loop: a trial in, loss curves out."""

from mixopt.proxy.checkpoints import CheckpointStore, Snapshot
from mixopt.proxy.pack_trainer import PackTrainer, likeness, packs
from mixopt.proxy.settings import ProxySettings, device_names
from mixopt.proxy.shape import ProxyShape, architecture, flops
from mixopt.proxy.speed import Products, faster_on_cpu, tokens_per_second
from mixopt.proxy.step_plan import StepPlan, plan_steps, tokens_with_sharing
from mixopt.proxy.trainer import ProxyTrainer, RunCounts, TokenSource
from mixopt.proxy.transformer import Proxy

__all__ = [
    "CheckpointStore",
    "PackTrainer",
    "Products",
    "Proxy",
    "ProxySettings",
    "ProxyShape",
    "ProxyTrainer",
    "RunCounts",
    "Snapshot",
    "StepPlan",
    "TokenSource",
    "architecture",
    "device_names",
    "faster_on_cpu",
    "flops",
    "likeness",
    "packs",
    "plan_steps",
    "tokens_per_second",
    "tokens_with_sharing",
]

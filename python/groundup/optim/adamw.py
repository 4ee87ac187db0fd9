"""AdamW: torch's optimizer, with clipping, zeroing and the state's dtype as options of the step."""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from groundup.ops import dispatch, native
from groundup.optim import adamw_cpp, adamw_cuda, adamw_reference
from groundup.optim.adamw_table import STATE, Table, Unfit

_OWN = ("max_grad_norm", "zero_grad_after_step", "state_dtype")
_STATE_DTYPES = (torch.float32, torch.bfloat16, torch.float16)

# Creating an optimizer wraps the `step` its class resolves to in profiling and the user's step
# hooks. Ours is wrapped itself; calling a wrapped one inside would run every hook twice.
_torch_step: Callable[..., Any] = torch.optim.Adam.step
if getattr(_torch_step, "hooked", False):
    _torch_step = _torch_step.__wrapped__  # type: ignore[attr-defined]

_STEPS: dict[str, Any] = {"cpp": adamw_cpp, "cuda": adamw_cuda, "reference": adamw_reference}


class AdamW(torch.optim.AdamW):
    """torch.optim.AdamW, argument for argument, and three options of its own.

    max_grad_norm         clip the norm of all gradients together to this before the step, as
                          clip_grad_norm_ does; the norm before clipping is left in `grad_norm`,
                          a 0-d tensor (None before the first step and without clipping)
    zero_grad_after_step  call zero_grad() at the end of every step
    state_dtype           dtype of both moments: float32, bfloat16 or float16; None is the
                          parameter's. With a dtype given the step is computed in float32; on
                          torch that holds float32 copies of parameters and moments meanwhile

    The three belong to the optimizer, not to its groups and not to its state_dict, which is
    torch.optim.AdamW's both ways: loading one of torch's keeps them.
    Sparse and complex parameters raise. Source: Loshchilov and Hutter 2019.
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        max_grad_norm: float | None = None,
        zero_grad_after_step: bool = False,
        state_dtype: torch.dtype | None = None,
    ) -> None:
        if isinstance(max_grad_norm, str):
            raise TypeError("max_grad_norm: expected a number or None, got str")
        if max_grad_norm is not None and not 0.0 < max_grad_norm < math.inf:
            raise ValueError(
                f"max_grad_norm: expected a positive finite number or None, got {max_grad_norm}"
            )
        if state_dtype is not None and state_dtype not in _STATE_DTYPES:
            raise ValueError(
                "state_dtype: expected torch.float32, torch.bfloat16, torch.float16 or None, got "
                f"{state_dtype}"
            )
        if state_dtype is not None and differentiable:
            raise ValueError("state_dtype: the step through it cannot be differentiable=True")
        self.max_grad_norm = max_grad_norm
        self.zero_grad_after_step = zero_grad_after_step
        self.state_dtype = state_dtype
        self.grad_norm: Tensor | None = None
        self._table: Table | None = None
        self._pending: list[tuple[Tensor, Tensor]] = []
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
        )
        if max_grad_norm is not None:
            # A GradScaler then takes its scale out of the gradients before the step: the norm
            # is the one of the gradients themselves.
            self._step_supports_amp_scaling = False

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {name: getattr(self, name) for name in _OWN}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        if "grad_norm" not in self.__dict__:  # a copy, not a state_dict being loaded
            self.grad_norm, self._table, self._pending = None, None, []

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; raises TypeError for a complex or sparse parameter."""
        super().add_param_group(param_group)
        for position, param in enumerate(self.param_groups[-1]["params"]):
            if param.is_complex() or param.layout is not torch.strided:
                self.param_groups.pop()
                kind = "complex" if param.is_complex() else "sparse"
                raise TypeError(
                    f"params: expected dense real tensors, got a {kind} one at position {position} "
                    "of its group; torch.optim has optimizers for those"
                )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Clip, update, zero. Returns what `closure` returned, or None without one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not self._step_on_kernel():
            self._step_on_torch()
        if self.zero_grad_after_step:
            self.zero_grad()
        return loss

    def _step_on_kernel(self) -> bool:
        """Whether a kernel did it; raises where one is forced and cannot."""
        forced = dispatch.forced.get("adamw")
        kernel = _STEPS.get(forced or "cpp", adamw_cpp)
        if forced == "torch":
            return False
        if torch.compiler.is_compiling():
            if forced is None:
                return False
            return bool(self._step_untraced(kernel))
        return self._step_by(kernel, forced)

    @torch.compiler.disable(  # type: ignore[untyped-decorator]
        reason="adamw is forced to a kernel, which takes addresses that a graph does not have; "
        "leave optimizer.step() out of what is compiled"
    )
    def _step_untraced(self, kernel: ModuleType) -> bool:
        return self._step_by(kernel, dispatch.forced.get("adamw"))

    def _step_by(self, kernel: ModuleType, forced: str | None) -> bool:
        try:
            if kernel is adamw_cpp and native.missing is not None:
                native.warn_missing()
                raise Unfit(native.missing)
            if getattr(self, "found_inf", None) is not None:
                raise Unfit("a GradScaler left a scale or a flag for the step to apply")
            kernel.step(self)
        except Unfit as why:
            if forced is not None:
                raise dispatch.cannot("adamw", forced, str(why)) from None
            return False
        return True

    def _step_on_torch(self) -> None:
        self._pending.clear()  # of a step that raised
        params = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        for param in params:
            if param.grad.layout is not torch.strided:
                raise TypeError(
                    f"params: expected dense gradients, got {param.grad.layout} for a parameter of "
                    f"shape {tuple(param.shape)}; build its Embedding with sparse=False"
                )
        dispatch.note("adamw", "torch")
        if self.max_grad_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(params, self.max_grad_norm)
            self.grad_norm = norm.to(torch.promote_types(norm.dtype, torch.float32))
        _torch_step(self)
        with torch.no_grad():
            for original, copy in self._pending:
                original.copy_(copy)
        self._pending.clear()

    def _init_group(
        self,
        group: dict[str, Any],
        params_with_grad: list[Tensor],
        grads: list[Tensor],
        exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor],
        max_exp_avg_sqs: list[Tensor],
        state_steps: list[Tensor],
    ) -> bool:
        lists = (params_with_grad, grads, exp_avgs, exp_avg_sqs, max_exp_avg_sqs)
        has_complex = super()._init_group(group, *lists, state_steps)  # type: ignore[no-untyped-call]
        if self.state_dtype is None:
            return bool(has_complex)
        # torch's step wants one dtype throughout: hand it float32 copies, and let step() write
        # parameters and moments back. Gradients need no way back.
        for param in params_with_grad:
            self._cast_state(param)
        moments = tuple(
            [self.state[param][key] for param in params_with_grad]
            for key in STATE
            if key != "max_exp_avg_sq" or group["amsgrad"]
        )
        for values, target in zip(
            (params_with_grad, *moments), (lists[0], *lists[2:]), strict=False
        ):
            copies = [value.detach().float() for value in values]
            self._pending += [
                (value, copy)
                for value, copy in zip(values, copies, strict=True)
                if copy.data_ptr() != value.data_ptr()
            ]
            target[:] = copies
        grads[:] = [grad.float() for grad in grads]
        return bool(has_complex)

    def _cast_state(self, param: Tensor) -> None:
        state = self.state[param]
        for key in STATE:
            if key in state and state[key].dtype is not self.state_dtype:
                state[key] = state[key].to(self.state_dtype)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load one of torch.optim.AdamW's or our own; our options stay as they are."""
        super().load_state_dict(state_dict)
        if self.state_dtype is None:
            return
        # torch casts what it loads to the parameter's dtype, which may be narrower than the
        # state's: take the moments from the source again.
        numbers = (number for group in state_dict["param_groups"] for number in group["params"])
        params = (param for group in self.param_groups for param in group["params"])
        for number, param in zip(numbers, params, strict=True):
            saved = state_dict["state"].get(number, {})
            for key in STATE:
                if key in saved:
                    self.state[param][key] = saved[key].to(
                        device=param.device, dtype=self.state_dtype, copy=True
                    )

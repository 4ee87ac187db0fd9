"""The native attention on every instruction set, any number of threads, and after a fork."""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from native.attention_calls import Flags, native
from native.isolation import (
    on_every_other_instruction_set,
    require_pass,
    require_return_from_fork,
)

core = pytest.importorskip("groundup._C", reason="the native core is not built")


@on_every_other_instruction_set("special or exactly_the_weights or any_width")
def test_the_value_tests_pass_on_every_instruction_set(isa, tests):
    require_pass(isa, tests, "test_attention.py", "test_attention_decode.py")


def example(heads=(6, 2), length=200, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    n, key_heads = heads
    return [
        torch.randn(2, h, length, 32, generator=generator).to(dtype)
        for h in (n, key_heads, key_heads, n)
    ]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("heads", [(6, 2), (16, 16)], ids=["key heads in parts", "whole key heads"])
def test_any_number_of_threads_gives_the_same_bits(heads, dtype, threads):
    tensors, flags = example(heads, dtype=dtype), Flags(left=150, dropout_p=0.1)
    results = []
    for n in (1, 2, 8):
        threads(n)
        assert core.usable_threads() == n, "torch.set_num_threads is not obeyed"
        results.append(native(core, *tensors, flags).all())
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_eight_python_threads_on_one_op_give_what_one_gives():
    tensors = example(length=130)
    expected = native(core, *tensors).all()
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: native(core, *tensors).all(), range(24)):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_after_a_parallel_region_returns():
    require_return_from_fork(
        """
x, statistics = torch.randn(1, 4, 200, 32), torch.empty(4, 200, 2)
def step(out):
    core.attention_forward_cpu(
        *[x.data_ptr()] * 3, out.data_ptr(), statistics.data_ptr(), 0, [1, 4, 4, 200, 200, 32, 32],
        [25600, 6400, 32] * 4, 0, -1, 0.1, 0.0, 0.0, 0, 0)
before, after = torch.empty_like(x), torch.empty_like(x)
"""
    )

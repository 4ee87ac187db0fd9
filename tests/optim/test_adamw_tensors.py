"""What lies behind a tensor may move, change or be missing between two steps of gu.optim.AdamW."""

import contextlib
import copy
import gc
import weakref

import pytest
import torch
from optim.walks import gapped, parameters, same, set_gradients, steps, tied_memory

import groundup as gu
from groundup.ops import dispatch, native

pytestmark = pytest.mark.skipif(native.missing is not None, reason=str(native.missing))


@pytest.fixture
def forced():
    with gu.use("adamw=cpp"), dispatch.ran() as log:
        yield log


def test_gradients_and_tensors_may_move_between_steps(forced):
    """New gradients, new memory behind a parameter, a moment replaced: each is found."""
    ours, theirs = parameters(), parameters()
    optimizers = gu.optim.AdamW(ours), torch.optim.AdamW(theirs)
    kept = []
    for seed in range(6):
        set_gradients(seed, ours, theirs)
        if seed == 2:
            ours[1].data = ours[1].data.clone()
        if seed == 3:
            state = optimizers[0].state[ours[1]]
            kept.append(state["exp_avg"])
            state["exp_avg"] = state["exp_avg"].clone()
        if seed == 4:
            ours[4].grad.data = ours[4].grad.data.clone()
            optimizers[0].state[ours[4]] = copy.deepcopy(optimizers[0].state[ours[4]])
        if seed == 5:
            for optimizer, params in zip(optimizers, (ours, theirs), strict=True):
                fresh = torch.nn.Parameter(torch.ones(5))
                fresh.grad = torch.ones(5)
                params.append(fresh)
                optimizer.add_param_group({"params": [fresh], "lr": 1.0})
        for optimizer in optimizers:
            optimizer.step()
    same(ours, theirs)
    before = kept[0].clone()
    steps(optimizers[0], ours, 1)
    assert torch.equal(kept[0], before)


def test_a_parameter_that_became_another_dtype_takes_its_moments_along():
    param = torch.nn.Parameter(torch.ones(5000))
    optimizer = gu.optim.AdamW([param])
    steps(optimizer, [param], 1)
    param.grad = None
    param.data = param.data.bfloat16()
    with gu.use("adamw=cpp"):
        steps(optimizer, [param], 1)
    assert param.isfinite().all()
    assert optimizer.state[param]["exp_avg"].dtype is torch.float32


def test_layouts_other_than_rows_are_stepped_in_place(forced):
    def models():
        generator = torch.Generator().manual_seed(0)
        square = torch.randn(7, 5, generator=generator).t()
        images = torch.randn(2, 3, 4, 5, generator=generator)
        images = images.to(memory_format=torch.channels_last)
        return [torch.nn.Parameter(tensor.clone()) for tensor in (square, images)]

    ours, theirs = models(), models()
    assert not ours[0].is_contiguous()
    options = {"amsgrad": True}
    optimizers = gu.optim.AdamW(ours, **options, max_grad_norm=1.0), None
    optimizers = optimizers[0], torch.optim.AdamW(theirs, **options)
    for seed in range(3):
        set_gradients(seed, ours, theirs)  # contiguous, unlike the parameters
        pointers = [p.data_ptr() for p in ours]
        torch.nn.utils.clip_grad_norm_(theirs, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        assert pointers == [p.data_ptr() for p in ours]
        same([p.grad for p in ours], [p.grad for p in theirs])
    same(ours, theirs)


def test_moments_saved_in_another_layout_are_laid_out_anew(forced):
    theirs = [torch.nn.Parameter(torch.arange(12.0).view(3, 4))]
    torchs = torch.optim.AdamW(theirs)
    steps(torchs, theirs)
    ours = [torch.nn.Parameter(theirs[0].detach().t().contiguous().t())]
    optimizer = gu.optim.AdamW(ours)
    optimizer.load_state_dict(copy.deepcopy(torchs.state_dict()))
    steps(optimizer, ours, first=3)
    steps(torchs, theirs, first=3)
    same(ours, theirs)


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ([torch.nn.Parameter(torch.zeros(3).double())], "a parameter is torch.float64"),
        ([torch.nn.Parameter(torch.zeros(3).half())], "a parameter is torch.float16"),
        ([gapped()], "a parameter has gaps or overlaps in memory"),
        (tied_memory(), "two parameters share memory"),
    ],
)
def test_what_the_kernel_cannot_take_goes_to_torch_or_raises_where_it_is_forced(params, reason):
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer = gu.optim.AdamW(params, lr=0.1)
    with (
        gu.use("adamw=cpp"),
        pytest.raises(RuntimeError, match=rf"adamw=cpp is forced .* cannot run: .*{reason}"),
    ):
        optimizer.step()
    with dispatch.ran() as log:
        optimizer.step()
    assert log == [("adamw", "torch")]
    assert all((param < 0).all() for param in params)


@pytest.mark.parametrize("forced", [None, "cpp", "reference"])
def test_an_expanded_gradient_is_not_clipped_and_nothing_was_stepped(forced):
    p = torch.nn.Parameter(torch.zeros(4))
    p.grad = torch.ones(1).expand(4)
    optimizer = gu.optim.AdamW([p], max_grad_norm=0.5)
    with (
        gu.use(f"adamw={forced}") if forced else contextlib.nullcontext(),
        pytest.raises((RuntimeError, ValueError), match=r"memory|expanded"),
    ):
        optimizer.step()
    assert p.count_nonzero() == 0


def test_sparse_gradients_are_refused_with_the_remedy():
    table = torch.nn.Embedding(4, 3, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match=r"expected dense gradients.*build its Embedding with spar"):
        gu.optim.AdamW(table.parameters()).step()


def test_complex_parameters_are_refused():
    with pytest.raises(TypeError, match="expected dense real tensors, got a complex one"):
        gu.optim.AdamW([torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))])


@pytest.fixture
def mesh():
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    yield dist.device_mesh.init_device_mesh("cpu", (2,))
    dist.destroy_process_group()


def test_a_dtensor_is_stepped_on_its_own_shard(mesh, forced):
    from torch.distributed.tensor import DTensor, Shard

    def model():
        local = torch.arange(12.0).view(4, 3)
        return torch.nn.Parameter(DTensor.from_local(local, mesh, [Shard(0)]))

    ours, plain = model(), torch.nn.Parameter(torch.arange(12.0).view(4, 3))
    optimizer, other = gu.optim.AdamW([ours], lr=0.1), torch.optim.AdamW([plain], lr=0.1)
    for step in range(3):
        grad = torch.full((4, 3), float(step + 1))
        ours.grad = DTensor.from_local(grad, mesh, [Shard(0)])
        plain.grad = grad.clone()
        optimizer.step()
        other.step()
    same([ours.to_local()], [plain])
    assert isinstance(optimizer.state[ours]["exp_avg"], DTensor)


def test_the_norm_of_dtensors_is_not_taken_from_one_shard(mesh):
    from torch.distributed.tensor import DTensor, Shard

    param = torch.nn.Parameter(DTensor.from_local(torch.ones(4), mesh, [Shard(0)]))
    param.grad = DTensor.from_local(torch.ones(4), mesh, [Shard(0)])
    optimizer = gu.optim.AdamW([param], max_grad_norm=1.0)
    with gu.use("adamw=cpp"), pytest.raises(RuntimeError, match="needs the other processes"):
        optimizer.step()


@pytest.mark.parametrize("what", ["param", "grad", "exp_avg"])
def test_a_tensor_without_memory_is_not_read(what):
    params = parameters()
    optimizer = gu.optim.AdamW(params)
    steps(optimizer, params, 1)
    set_gradients(1, params)
    tensor = {"param": params[0], "grad": params[0].grad, "exp_avg": optimizer.state[params[0]]}
    tensor = tensor[what][what] if what == "exp_avg" else tensor[what]
    tensor.untyped_storage().resize_(0)
    with gu.use("adamw=cpp"), pytest.raises(RuntimeError, match="no memory behind it"):
        optimizer.step()


@pytest.mark.parametrize("column", ["param", "grad", "exp_avg", "exp_avg_sq", "step"])
@pytest.mark.parametrize("change", ["moved", "released", "shrunk", "cast", "transposed"])
def test_no_stale_address_is_written(column, change, forced):
    """Whatever was put behind a tensor since the last step, what lay there before stays."""
    params = parameters(shapes=((64, 33), (7,)))
    optimizer = gu.optim.AdamW(params)
    steps(optimizer, params, 2)
    set_gradients(2, params)
    state = optimizer.state[params[0]]
    tensor = {"param": params[0], "grad": params[0].grad}.get(column, state.get(column))
    before = tensor.data
    kept = before.clone()
    changed = {
        "moved": before.clone,
        "released": before.clone,
        "shrunk": lambda: before.flatten()[:1].clone(),
        "cast": before.double,
        "transposed": lambda: before.t().clone(),
    }[change]()
    tensor.data = changed
    if change == "released":
        tensor.untyped_storage().resize_(0)
    # What the kernel cannot take is refused, being forced; a state of another shape always.
    with contextlib.suppress(RuntimeError, ValueError):
        optimizer.step()
    if column != "grad":
        assert torch.equal(before, kept)
    assert all(p.isfinite().all() for p in params if p.untyped_storage().size())


def test_a_negated_gradient_and_a_changed_state_dtype_are_noticed(forced):
    ours, theirs = parameters(shapes=((5,),)), parameters(shapes=((5,),))
    optimizer, torchs = gu.optim.AdamW(ours), torch.optim.AdamW(theirs)
    for each, params in ((optimizer, ours), (torchs, theirs)):
        steps(each, params, 2)
        params[0].grad = torch.ones(5)
    ours[0].grad = torch._neg_view(-torch.ones(5))
    with gu.use("adamw=cpp"), pytest.raises(RuntimeError, match="a gradient is not in the CPU's"):
        optimizer.step()
    with gu.use("adamw=torch"):
        optimizer.step()
    torchs.step()
    same(ours, theirs)
    optimizer.state_dtype = torch.bfloat16
    steps(optimizer, ours, 1)
    assert optimizer.state[ours[0]]["exp_avg"].dtype is torch.bfloat16


def test_steps_that_find_everything_as_it_was_make_no_new_table(forced):
    params = parameters()
    optimizer = gu.optim.AdamW(params, max_grad_norm=1.0)
    steps(optimizer, params, 1)
    table = optimizer._table
    steps(optimizer, params, 3, first=1)
    assert optimizer._table is table
    params[1].data = params[1].data.clone()
    steps(optimizer, params, 1)
    assert optimizer._table is not table


def test_parameters_that_hold_their_optimizer_are_collected():
    params = parameters()
    optimizer = gu.optim.AdamW(params)
    steps(optimizer, params, 2)
    params[0].register_post_accumulate_grad_hook(lambda _: optimizer.step())
    gone = weakref.ref(params[1])
    del params
    optimizer = None
    gc.collect()
    assert gone() is None

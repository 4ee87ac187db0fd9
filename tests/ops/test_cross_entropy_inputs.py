"""Bad input by bad input: what was expected, what came, the remedy; the same on every form."""

import pytest
import torch
from ops.cross_entropy_cases import implementations

import groundup as gu
from groundup.ops import native

LOGITS = torch.zeros(4, 7)
TARGET = torch.tensor([0, 1, 2, 3])

every_implementation = pytest.mark.parametrize("implementation", implementations())

BAD = {
    "not a tensor": (([[0.0]], TARGET), {}, TypeError, "input: expected a torch.Tensor, got list"),
    "target not a tensor": (
        (LOGITS, [0, 1, 2, 3]),
        {},
        TypeError,
        "target: expected a torch.Tensor, got list",
    ),
    "no target": ((LOGITS, None), {}, TypeError, "target: expected a torch.Tensor, got NoneType"),
    "no input": ((None, TARGET), {}, TypeError, "input: expected a torch.Tensor, got NoneType"),
    "ignore_index is no int": (
        (LOGITS, TARGET),
        {"ignore_index": None},
        TypeError,
        "ignore_index: expected an int, got NoneType",
    ),
    "ignore_index is beyond int64": (
        (LOGITS, TARGET),
        {"ignore_index": 1 << 63},
        ValueError,
        "ignore_index: expected a 64-bit integer, got 9223372036854775808",
    ),
    "three dimensions": (
        (torch.zeros(2, 2, 7), TARGET),
        {},
        ValueError,
        r"input: expected shape \(N, V\), got \(2, 2, 7\); use .view\(-1, V\), that is "
        r"input.view\(-1, 7\)",
    ),
    "one dimension": (
        (torch.zeros(7), torch.tensor(0)),
        {},
        ValueError,
        r"input: expected shape \(N, V\), got \(7,\); use .view\(-1, V\)",
    ),
    "integer logits": (
        (torch.zeros(4, 7, dtype=torch.int64), TARGET),
        {},
        TypeError,
        r"input: expected float32, bfloat16, float16 or float64, got torch.int64; try input.float",
    ),
    "complex logits": (
        (torch.zeros(4, 7, dtype=torch.complex64), TARGET),
        {},
        TypeError,
        r"input: expected float32, bfloat16, float16 or float64, got torch.complex64",
    ),
    "no classes": (
        (torch.zeros(4, 0), TARGET),
        {},
        ValueError,
        r"input: expected at least one class, got shape \(4, 0\)",
    ),
    "class probabilities": (
        (LOGITS, torch.full((4, 7), 1 / 7)),
        {},
        TypeError,
        "target: expected class indices, got class probabilities",
    ),
    "target of another length": (
        (LOGITS, TARGET[:3]),
        {},
        ValueError,
        r"target: expected shape \(N,\) = \(4,\), got \(3,\)$",
    ),
    "target of two dimensions": (
        (LOGITS, TARGET.view(2, 2)),
        {},
        ValueError,
        r"target: expected shape \(N,\) = \(4,\), got \(2, 2\); try target.view\(-1\)",
    ),
    "int32 target": (
        (LOGITS, TARGET.int()),
        {},
        TypeError,
        r"target: expected int64, got torch.int32; try target.long\(\)",
    ),
    "weight of another length": (
        (LOGITS, TARGET, torch.ones(6)),
        {},
        ValueError,
        r"weight: expected shape \(V,\) = \(7,\), got \(6,\)",
    ),
    "weight of another dtype": (
        (LOGITS, TARGET, torch.ones(7, dtype=torch.float64)),
        {},
        TypeError,
        "weight: expected torch.float32 or the dtype of input, torch.float32, got torch.float64",
    ),
    "weight with gradient": (
        (LOGITS, TARGET, torch.ones(7, requires_grad=True)),
        {},
        ValueError,
        r"weight: expected no gradient to be required; try weight.detach\(\)",
    ),
    "target on another device": (
        (LOGITS, TARGET.to("meta")),
        {},
        ValueError,
        "target: expected the device of input, cpu, got meta",
    ),
    "weight on another device": (
        (LOGITS, TARGET, torch.ones(7, device="meta")),
        {},
        ValueError,
        "weight: expected the device of input, cpu, got meta",
    ),
    "unknown reduction": (
        (LOGITS, TARGET),
        {"reduction": "average"},
        ValueError,
        'reduction: expected "none", "mean" or "sum", got \'average\'',
    ),
    "smoothing above one": (
        (LOGITS, TARGET),
        {"label_smoothing": 1.5},
        ValueError,
        r"label_smoothing: expected a number in \[0, 1\], got 1.5",
    ),
    "smoothing nan": (
        (LOGITS, TARGET),
        {"label_smoothing": float("nan")},
        ValueError,
        r"label_smoothing: expected a number in \[0, 1\], got nan",
    ),
    "negative z-loss": (
        (LOGITS, TARGET),
        {"lse_square_scale": -1.0},
        ValueError,
        "lse_square_scale: expected a finite number of at least 0, got -1.0",
    ),
    "softcap of zero": (
        (LOGITS, TARGET),
        {"softcap": 0.0},
        ValueError,
        "softcap: expected a positive finite number or None, got 0.0",
    ),
    "softcap infinite": (
        (LOGITS, TARGET),
        {"softcap": float("inf")},
        ValueError,
        "softcap: expected a positive finite number or None, got inf",
    ),
}


@every_implementation
@pytest.mark.parametrize(("arguments", "options", "kind", "message"), BAD.values(), ids=BAD.keys())
def test_bad_input_raises_a_sentence(implementation, arguments, options, kind, message):
    with gu.use(f"cross_entropy={implementation}"), pytest.raises(kind, match=message):
        gu.cross_entropy(*arguments, **options)


@every_implementation
@pytest.mark.parametrize("grad", [False, True], ids=["no_grad", "grad"])
@pytest.mark.parametrize("inplace", [False, True], ids=["out_of_place", "in_place"])
@pytest.mark.parametrize("bad", [-1, 7, 2**40, -(2**63)])
def test_a_target_out_of_range_names_its_row_and_value(implementation, grad, inplace, bad):
    target = torch.tensor([0, -100, bad, -7])
    logits = LOGITS.clone().requires_grad_(grad) * 1
    message = rf"target: expected classes in \[0, 7\) or ignore_index = -100, got {bad} at row 2"
    with gu.use(f"cross_entropy={implementation}"), pytest.raises(IndexError, match=message):
        gu.cross_entropy(logits, target, inplace=inplace)


class Own(torch.Tensor):
    pass


def kernels():
    return pytest.mark.parametrize(
        "implementation", [p for p in implementations() if p.values != ("torch",)]
    )


REFUSED = {
    "subclass": (
        lambda: LOGITS.as_subclass(Own),
        TypeError,
        r"input: expected a torch.Tensor itself, got its subclass Own; try "
        r"input.as_subclass\(torch.Tensor\).*groundup.use\(\"cross_entropy=torch\"\)",
    ),
    "sparse": (
        lambda: LOGITS.to_sparse(),
        TypeError,
        r"input: expected a dense tensor, got layout torch.sparse_coo; try input.to_dense\(\)",
    ),
    "nested": (
        lambda: torch.nested.nested_tensor([torch.zeros(3), torch.zeros(4)]),
        TypeError,
        "input: expected a dense tensor, got a nested one",
    ),
    "quantized": (
        lambda: torch.quantize_per_tensor(LOGITS, 0.1, 0, torch.qint8),
        TypeError,
        "input: expected float32, bfloat16, float16 or float64, got torch.qint8",
    ),
    "negated view": (
        lambda: torch.zeros(4, 7, dtype=torch.complex64).conj().imag,
        ValueError,
        r"input: expected a tensor whose memory holds its values.*try input.resolve_neg\(\)",
    ),
}


@kernels()
@pytest.mark.parametrize(("make", "kind", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_the_gate_refuses_in_a_sentence(implementation, make, kind, message):
    with gu.use(f"cross_entropy={implementation}"), pytest.raises(kind, match=message):
        gu.cross_entropy(make(), TARGET)
    with pytest.raises(kind, match=message):
        gu.cross_entropy(make(), TARGET)


def test_a_parameter_is_no_subclass():
    parameter = torch.nn.Parameter(LOGITS.clone())
    gu.cross_entropy(parameter, TARGET).backward()
    assert parameter.grad.shape == (4, 7)


def test_a_dtensor_is_refused_and_runs_on_torch(tmp_path):
    dist = torch.distributed
    if not dist.is_available():
        pytest.skip("this torch is built without torch.distributed")
    from torch.distributed.tensor import DeviceMesh, Replicate, distribute_tensor

    store = dist.FileStore(str(tmp_path / "store"), 1)
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = DeviceMesh("cpu", [0])
        logits = distribute_tensor(LOGITS, mesh, [Replicate()])
        with pytest.raises(TypeError, match=r"its subclass DTensor; try input.full_tensor\(\)"):
            gu.cross_entropy(logits, TARGET)
    finally:
        dist.destroy_process_group()


def test_meta_tensors_give_a_meta_loss():
    logits = LOGITS.to("meta").requires_grad_()
    loss = gu.cross_entropy(logits, TARGET.to("meta"))
    assert (loss.device.type, loss.dtype, loss.shape) == ("meta", torch.float32, ())
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.shape == (4, 7)


def test_fake_tensors_give_a_fake_loss():
    from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

    with FakeTensorMode():
        loss = gu.cross_entropy(torch.empty(4, 7), torch.empty(4, dtype=torch.int64))
    assert isinstance(loss, FakeTensor)


def test_a_dispatch_mode_sees_the_operator():
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(str(function))
            return function(*args, **(kwargs or {}))

    with Watch():
        gu.cross_entropy(LOGITS, TARGET)
    assert any("cross_entropy" in name for name in seen)


def released(tensor):
    tensor = tensor.clone()
    tensor.untyped_storage().resize_(0)
    return tensor


def lazy_zeros(tensor):
    return torch._efficientzerotensor(tuple(tensor.shape), dtype=tensor.dtype)


@pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
@pytest.mark.parametrize("without_memory", [released, lazy_zeros])
@pytest.mark.parametrize("which", ["input", "target", "weight"])
def test_a_tensor_without_memory_is_refused_and_not_read(without_memory, which):
    tensors = {"input": LOGITS, "target": TARGET, "weight": torch.ones(7)}
    tensors[which] = without_memory(tensors[which])
    with pytest.raises(ValueError, match=f"{which}: expected a tensor with memory, got one of sha"):
        gu.cross_entropy(*tensors.values())


@pytest.mark.skipif(native.missing is not None, reason=str(native.missing))
def test_the_operator_itself_checks_what_memory_safety_needs():
    options = (-100, 1, 0.0, 0.0, 0.0)
    forward = torch.ops.groundup.cross_entropy
    for arguments, message in (
        ((LOGITS, TARGET[:2], None), r"target: expected shape \(N,\) = \(4,\), got \(2,\)"),
        ((LOGITS.half(), TARGET, None), "input: expected float32 or bfloat16, got torch.float16"),
        ((LOGITS, TARGET, torch.ones(3)), r"weight: expected shape \(V,\) = \(7,\), got \(3,\)"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            forward(*arguments, *options)
    loss, statistics = forward(LOGITS, TARGET, None, *options)
    backward = torch.ops.groundup.cross_entropy_backward
    with pytest.raises(ValueError, match=r"statistics: expected float32 of shape \(9,\)"):
        backward(loss, statistics[:3], LOGITS, TARGET, None, *options)
    with pytest.raises(ValueError, match=r"dloss: expected float32 of shape \(\), got torch.fl"):
        backward(torch.ones(4), statistics, LOGITS, TARGET, None, *options)

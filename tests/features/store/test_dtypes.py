import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protoquant.features.store.dtypes import DTYPES, ScaledShard, largest, pack, token_bytes, unpack


def test_one_byte_by_hand():
    tokens = torch.tensor([[[1.27, -0.5, 0.004], [0.0, 0.0, 0.0]]])
    stored = pack(tokens, "int8")
    assert stored["tokens"].tolist() == [[[127, -50, 0], [0, 0, 0]]]  # 0.4 of a step is none
    assert torch.allclose(stored["scales"], torch.tensor([[0.01, 0.0]]))
    found = unpack(stored)
    assert isinstance(found, ScaledShard)
    assert torch.allclose(found[:], torch.tensor([[[1.27, -0.5, 0.0], [0.0, 0.0, 0.0]]]))


@given(st.integers(0, 2**31), st.floats(-30, 30))
def test_a_number_is_off_by_half_a_step_at_most(seed, power):
    tokens = torch.randn(3, 4, 17, generator=torch.Generator().manual_seed(seed)) * 10.0**power
    found = unpack(pack(tokens, "int8"))[:]
    steps = tokens.abs().amax(dim=2, keepdim=True) / 127
    assert bool(((found - tokens).abs() <= steps * 0.501).all())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_the_others_are_casts_of_their_own(dtype):
    tokens = torch.randn(2, 3, 4)
    stored = pack(tokens, dtype)
    assert torch.equal(stored["tokens"], tokens.to(DTYPES[dtype]))
    assert stored["tokens"].data_ptr() != tokens.data_ptr()
    assert unpack(stored) is stored["tokens"]


def test_what_a_token_takes():
    assert {dtype: token_bytes(dtype, 768) for dtype in DTYPES} == {
        "float16": 1536,
        "bfloat16": 1536,
        "float32": 3072,
        "int8": 772,
    }
    assert (largest("float16"), largest("int8")) == (65504.0, torch.finfo(torch.float32).max / 2)


def test_packing_does_not_depend_on_what_else_is_packed():
    tokens = torch.randn(5, 3, 4)
    whole = pack(tokens, "int8")
    for name, part in whole.items():
        assert torch.equal(part[2:4], pack(tokens[2:4], "int8")[name])


def test_the_largest_number_stays_finite_and_what_is_nearly_zero_is_zero():
    tokens = torch.tensor([[[largest("int8"), -largest("int8")], [1e-40, -1e-38]]])
    found = unpack(pack(tokens, "int8"))[:]
    assert bool(found.isfinite().all())
    assert torch.allclose(found[0, 0], tokens[0, 0])
    assert found[0, 1].tolist() == [0.0, 0.0]

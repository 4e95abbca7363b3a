"""Tests of refusals: numbers with their basis, and hints that help."""

from lmx_daemon.contract.models import Alternative, Figure, MemoryPlan
from lmx_daemon.memory.budget import MemoryBudget
from lmx_daemon.memory.need import Demand, Device, plan_for
from lmx_daemon.memory.shape import ModelShape, Weights
from lmx_daemon.residency.decisions.loading.placement import Claim
from lmx_daemon.residency.decisions.loading.refusal import alternatives, refusal, smaller_demand

GB = 10**9
SHAPE = ModelShape(
    {
        "model_type": "llama",
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
    },
    Weights({"U32": 4 * GB, "BF16": GB // 2}, "exact"),
)
METAL = Device(cpu=False)


def need(demand: Demand) -> int:
    return plan_for(SHAPE, demand, METAL).bytes


def test_the_hint_of_a_refusal_fits_on_a_mac_of_16_gb() -> None:
    plan = plan_for(SHAPE, Demand(context=131_072), METAL)
    room = MemoryBudget(cap=int(0.9 * 0.667 * 17.2 * GB))
    smaller = smaller_demand(plan, room.cap, need)
    assert smaller is not None and smaller.context is not None and smaller.context >= 16_384
    assert plan_for(SHAPE, smaller, METAL).bytes <= room.cap < plan.bytes
    error = refusal("maker/model", plan, room, [], smaller)
    assert error.status == 507 and error.hint == f"it fits with: lmx load maker/model --context {smaller.context}"
    assert "weights 4.5 GB (exact), cache of 131072 tokens 17.2 GB (computed), scratch" in error.message
    assert "10.3 GB of 10.3 GB are free" in error.message


def test_fewer_slots_are_proposed_before_a_shorter_context() -> None:
    plan = plan_for(SHAPE, Demand(8192, 8), METAL)
    free = plan_for(SHAPE, Demand(8192, 3), METAL).bytes
    assert smaller_demand(plan, free, need) == Demand(8192, 3)
    assert smaller_demand(plan, free - 1, need) == Demand(8192, 2)
    absurd = plan_for(SHAPE, Demand(8192, 2**31 - 1), METAL)
    assert smaller_demand(absurd, free, need) == Demand(8192, 3)


def test_the_smallest_pinned_model_that_would_help_is_named() -> None:
    plan = MemoryPlan(
        weights=Figure(bytes=5 * GB, basis="exact"),
        cache=Figure(bytes=GB, basis="computed"),
        scratch=Figure(bytes=GB, basis="estimated"),
        context=4096,
    )
    claims = [
        Claim("tiny/one:1", GB, pinned=True),
        Claim("mid/one:2", 4 * GB, pinned=True),
        Claim("big/one:3", 5 * GB, pinned=True),
    ]
    error = refusal("maker/model", plan, MemoryBudget(cap=14 * GB), claims, None)
    assert error.hint == "mid/one is pinned and holds 4.0 GB; unload it with: lmx unload mid/one"
    unload = Alternative(unload="mid/one:2", frees=4 * GB)
    assert alternatives(plan, MemoryBudget(cap=14 * GB), claims, None) == (unload,)
    smaller = Alternative(context=2048, slots=1)
    assert alternatives(plan, MemoryBudget(cap=14 * GB), claims, Demand(2048, 1)) == (smaller, unload)
    assert (
        refusal("maker/model", plan, MemoryBudget(cap=5 * GB), [], None).hint
        == "use a smaller model, or one with fewer bits"
    )


def test_other_programs_are_named_if_they_are_the_cause() -> None:
    plan = plan_for(SHAPE, Demand(), METAL)
    error = refusal("m/m", plan, MemoryBudget(cap=20 * GB, available=2 * GB), [], None)
    assert "2.0 GB of 20.0 GB are free; other programs leave 2.0 GB" in error.message


def test_other_programs_are_named_only_if_they_are_the_cause() -> None:
    plan = plan_for(SHAPE, Demand(), METAL)
    room = MemoryBudget(cap=plan.bytes + GB, available=plan.bytes * 3 // 5)
    assert "; other programs leave " in refusal("m/m", plan, room, [], None).message
    assert "other programs" not in refusal("m/m", plan, MemoryBudget(cap=GB, available=50 * GB), [], None).message

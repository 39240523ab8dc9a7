"""Engines on cards: who gets a place, in which order they start, and how the rest is divided."""

from hypothesis import given, settings
from hypothesis import strategies as st

from stacks.planning.gpus.cards import Need, place
from stacks.planning.gpus.roofline import Reads, shared_tokens_per_second


def _need(name: str, fixed: float, least: float, useful: float = 0.0, priority: int = 1, replica: int = 0) -> Need:
    return Need(name, replica, fixed, least, max(useful, least), priority)


def test_one_engine_has_the_whole_card() -> None:
    (card,) = place([_need("a", 3.0, 1.0, 2.0)], cards=1, free=6.0, shared=False).cards
    assert card.shares[0].kv == 3.0  # 6 - 3: what nobody else wants is prefix cache
    assert card.unused == 0.0


def test_a_card_that_is_not_shared_takes_one_engine() -> None:
    done = place([_need("a", 1, 1), _need("b", 1, 1)], cards=1, free=8, shared=False)
    assert [n.name for n in done.unplaced] == ["b"]


def test_a_shared_card_takes_both_and_starts_the_larger_one_first() -> None:
    (card,) = place([_need("small", 1, 1), _need("large", 3, 1)], cards=1, free=8, shared=True).cards
    assert [(s.need.name, s.order) for s in card.shares] == [("large", 0), ("small", 1)]


def test_engines_spread_over_the_cards_before_they_share_one() -> None:
    done = place([_need("a", 1, 1, replica=i) for i in range(2)], cards=2, free=8, shared=True)
    assert [len(c.shares) for c in done.cards] == [1, 1]


def test_the_rest_goes_by_priority_up_to_what_is_useful() -> None:
    # 10 - 2 fixed - 2 least = 6 left; 2:1 gives 4 and 2; a can use 3 more only, so that b gets 3.
    (card,) = place([_need("a", 1, 1, 4, priority=2), _need("b", 1, 1, 9)], cards=1, free=10, shared=True).cards
    assert [round(s.kv, 6) for s in card.shares] == [4.0, 4.0]


def test_a_pinned_share_is_not_bargained_over() -> None:
    pinned = Need("a", 0, 1.0, 0.5, 0.5, kv_exact=2.0)
    (card,) = place([pinned, _need("b", 1, 1)], cards=1, free=8, shared=True).cards
    assert {s.need.name: s.kv for s in card.shares} == {"a": 2.0, "b": 4.0}


def test_a_packing_that_spreading_misses_is_found() -> None:
    # Two cards of 6: spreading puts 3 and 3 apart and leaves 2+2+2 unplaced by one; packed 3+3 and 2+2+2.
    needs = [_need(n, size - 1, 1) for n, size in (("a", 3), ("b", 3), ("c", 2), ("d", 2), ("e", 2))]
    assert not place(needs, cards=2, free=6, shared=True).unplaced


NEEDS = st.lists(
    st.builds(
        Need,
        st.sampled_from("abc"), st.integers(0, 3), st.integers(1, 8), st.integers(1, 4), st.integers(4, 9),
        st.integers(1, 3),
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(needs=NEEDS, cards=st.integers(1, 3), free=st.integers(1, 24), more=st.integers(0, 8), shared=st.booleans())
def test_more_memory_never_houses_fewer_engines_and_no_card_overflows(
    needs: list[Need], cards: int, free: int, more: int, shared: bool
) -> None:
    less, larger = (place(needs, cards=cards, free=f, shared=shared) for f in (free, free + more))
    if not less.unplaced:
        assert not larger.unplaced
    for card in (*less.cards, *larger.cards):
        assert card.unused >= -1e-6
        assert all(s.kv + 1e-9 >= s.need.kv_least for s in card.shares)
    assert place(needs, cards=cards, free=free, shared=shared) == less


def test_reading_all_weights_once_a_token_bounds_the_speed() -> None:
    # 2 GiB of weights on 448 GB/s: 2147483648 / 448e9 = 4.793 ms, at most 208.6 tokens a second
    reads = Reads(weights_gib=2.0, kv_bytes_per_request=0.0)
    assert round(reads.step_seconds(1, 448) * 1000, 3) == 4.793
    assert round(reads.tokens_per_second(1, 448), 1) == 208.6


def test_two_engines_of_one_card_are_never_faster_than_one_with_all_requests() -> None:
    reads = Reads(weights_gib=2.0, kv_bytes_per_request=4e8)
    one, two = (shared_tokens_per_second([(reads, 8 // n)] * n, 448) for n in (1, 2))
    assert two < one  # the second copy of the weights is read too
    assert round(one, 2) == round(8 / ((2 * 2**30 + 8 * 4e8) / 448e9), 2)

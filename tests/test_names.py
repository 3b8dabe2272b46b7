"""Tasks by the beginnings of their ids and by their labels."""

from __future__ import annotations

from parley.protocols.names import Names


def test_whatever_begins_so_and_whatever_is_called_so() -> None:
    names = Names()
    for task, label in (("k3f9", "mnist"), ("k3a0", ""), ("kz", "mnist"), ("k", ""), ("m1", "k3")):
        names.add(task, label)
    assert sorted(names.named("k3")) == ["k3a0", "k3f9", "m1"]
    assert sorted(names.named("k")) == ["k", "k3a0", "k3f9", "kz"]
    assert names.named("mnist") == ["k3f9", "kz"]
    assert names.named("k3f") == names.named("k3f9") == ["k3f9"]
    assert names.named("q") == names.named("qqq") == []
    assert len(names.named("")) == 5


def test_what_is_discarded_is_not_found_and_others_of_its_label_are() -> None:
    names = Names()
    names.add("a1", "x")
    names.add("a1", "x")
    assert names.named("x") == ["a1"]
    names.add("a2", "x")
    names.discard("a1", "x")
    names.discard("a1", "x")
    assert (names.named("x"), names.named("a")) == (["a2"], ["a2"])
    names.discard("a2", "x")
    assert (names.named("x"), names.named("a")) == ([], [])

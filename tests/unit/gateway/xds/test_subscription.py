"""What a subscription counts; its rules as a protocol are in tests/stream."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.xds.subscription import Subscription, SubscriptionChange


def nothing() -> Iterable[str]:
    return ()


def test_answers_are_owed_to_names_not_to_the_wildcard() -> None:
    """True stands for an answer in any case, False for one if there is news."""
    subscription = Subscription()

    assert subscription.apply(SubscriptionChange(("*", "a")), lambda: ["a", "b"]) == {"a": True, "b": False}


def test_all_names_are_read_only_when_the_wildcard_begins() -> None:
    """A request of a running stream does not walk through everything there is."""
    asked = []
    subscription = Subscription()
    for change in (SubscriptionChange(), SubscriptionChange(), SubscriptionChange(("*", "a"))):
        subscription.apply(change, lambda: asked.append("asked") or ())

    assert asked == ["asked"]


def test_versions_are_kept_of_wanted_names_only() -> None:
    """What the client tells of others, unsubscribes or loses with the wildcard takes no memory."""
    subscription = Subscription()
    told = SubscriptionChange(("a", "b"), (), {"a": "1", "b": "1", "other": "1"})
    subscription.apply(told, nothing)
    assert (subscription.held, subscription.explicit) == (2, 2)

    subscription.apply(SubscriptionChange((), ("a",)), nothing)
    assert (subscription.held, subscription.version_of("a")) == (1, None)

    subscription.apply(SubscriptionChange(("*",)), nothing)
    subscription.sent("x", "1")
    subscription.apply(SubscriptionChange((), ("*",)), nothing)
    assert (subscription.held, subscription.version_of("b"), subscription.wildcard) == (1, "1", False)


def test_what_was_told_absent_is_not_had() -> None:
    """Until it is sent again."""
    subscription = Subscription()
    subscription.apply(SubscriptionChange(("a",)), nothing)
    subscription.sent("a", "1")
    subscription.told_absent("a")

    assert subscription.version_of("a") is None
    assert subscription.wants("a")

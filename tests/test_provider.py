"""Registration of event types, and what a translator may yield."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from linkrunner_webhooks.errors import Untranslatable
from linkrunner_webhooks.model import CommerceEvent, Identity, Kind, Webhook
from linkrunner_webhooks.provider import Context, Provider
from linkrunner_webhooks.reading import Id, Payload
from linkrunner_webhooks.signatures.tokens import StaticToken


class Order(Payload):
    id: Id


def ordered(order: Order, context: Context) -> Iterator[CommerceEvent]:
    """A translator."""
    yield CommerceEvent(kind=context.kind, transactions=(order.id,))


def overstated(order: Order, context: Context) -> Iterator[CommerceEvent]:
    """A translator that yields a kind which its registration may not declare."""
    yield CommerceEvent(kind=Kind.PURCHASE_COMPLETED, transactions=(order.id,))


@pytest.fixture
def acme() -> Provider:
    """A provider without event types."""
    return Provider(
        name="acme",
        title="Acme",
        docs="https://docs.acme.example",
        signature=StaticToken("x-acme-token"),
        identify=lambda _: Identity("evt_1", "order.paid"),
        user_id=("user_id",),
        never={"order.updated": "it repeats the order"},
    )


def translated(acme: Provider, body: bytes = b'{"id": "order_1"}') -> tuple[CommerceEvent, ...]:
    """What `order.paid` becomes."""
    webhook = Webhook("acme", {}, body)
    return acme.translate(webhook, acme.identify(webhook), acme.options())


def test_the_payload_is_the_type_of_the_first_parameter(acme: Provider) -> None:
    """A translator's annotation says which model reads the body."""
    acme.on("order.paid", Kind.PURCHASE_COMPLETED)(ordered)
    assert acme.types["order.paid"].payload is Order
    (event,) = translated(acme)
    assert event.transactions == ("order_1",)


def test_on_and_off_are_the_default_switches(acme: Provider) -> None:
    """`on` forwards a type by default, `off` does not; `besides` has switches of its own."""
    acme.on("order.paid", Kind.PURCHASE_COMPLETED, besides={Kind.PAYMENT_FAILED: False})(ordered)
    acme.off("order.created", Kind.PURCHASE_INITIATED)(ordered)
    assert acme.types["order.paid"].switches == {
        Kind.PURCHASE_COMPLETED: True,
        Kind.PAYMENT_FAILED: False,
    }
    assert acme.types["order.created"].switches == {Kind.PURCHASE_INITIATED: False}


@pytest.mark.parametrize("name", ["order.paid", "order.updated"])
def test_a_type_is_declared_once(acme: Provider, name: str) -> None:
    """A type that is registered already, or that is never forwarded, is not registered again."""
    acme.on("order.paid", Kind.PURCHASE_COMPLETED)(ordered)
    with pytest.raises(ValueError, match=f'"{name}" is declared twice'):
        acme.off(name, Kind.PURCHASE_COMPLETED)(ordered)


def test_stacked_decorators_cannot_repeat_a_type(acme: Provider) -> None:
    """The second registration of a name fails also when both decorate one translator."""
    first = acme.on("order.paid", Kind.PURCHASE_COMPLETED)
    second = acme.on("order.paid", Kind.PURCHASE_COMPLETED)
    with pytest.raises(ValueError, match="declared twice"):
        first(second(ordered))


def test_a_type_has_a_kind(acme: Provider) -> None:
    """A type without a kind would fail at its first webhook, so it fails at registration."""
    with pytest.raises(ValueError, match="needs a kind"):
        acme.on("order.paid")(ordered)


def test_an_undeclared_kind_parks_the_webhook(acme: Provider) -> None:
    """An event of a kind that the registration does not declare is not lost: the webhook is parked."""
    acme.on("order.paid", Kind.SUBSCRIPTION_STARTED)(overstated)
    with pytest.raises(Untranslatable, match="undeclared purchase_completed"):
        translated(acme)


def test_a_body_of_another_shape_is_not_quoted(acme: Provider) -> None:
    """The error names the place and the kind of disagreement, and no value of the body."""
    acme.on("order.paid", Kind.PURCHASE_COMPLETED)(ordered)
    with pytest.raises(Untranslatable) as caught:
        translated(acme, b'{"id": ["ada@example.com"]}')
    assert "id" in str(caught.value)
    assert "ada" not in str(caught.value)

"""Invents what happens in a run: every sort of fact, and who reports it when and how often."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from tests.chaos.bodies import (
    charge_refunded,
    delivered,
    invoice_paid,
    named,
    order,
    order_paid_back,
    payment_reports,
    stripe,
)
from tests.chaos.facts import CRASHING_TYPE, SOURCES, Fact, Plan, Sending
from tests.chaos.unreliable import REFUSED_CURRENCY
from tests.samples import Sample

from linkrunner_webhooks import providers
from linkrunner_webhooks.envelope import Envelope
from linkrunner_webhooks.model import Webhook

# Decimals, written down here once more so that the judge does not believe the code it judges.
_DECIMALS: Final = {"usd": 2, "eur": 2, "inr": 2, "jpy": 0, "kwd": 3}
_LARGE: Final = 2 * 1024 * 1024
_WORDS: Final = ("mug", "bowl", "plate", "blue", "green", "glazed", "large", "small", "oval", "set")


def plan(seed: int, count: int) -> Plan:
    """`count` facts of every sort, the same ones for the same seed."""
    planner = _Planner(random.Random(f"facts {seed}"))
    sorts = list(_SORTS)
    # One of each at least, then by weight.
    chosen = sorts[:count] + planner.dice.choices(
        sorts, list(_SORTS.values()), k=max(0, count - len(sorts))
    )
    for sort in chosen:
        if len(planner.facts) < count:
            sort(planner)
    return Plan(tuple(planner.facts), tuple(sorted(planner.sendings, key=lambda each: each.due)))


@dataclass
class _Planner:
    dice: random.Random
    facts: list[Fact] = field(default_factory=list)
    sendings: list[Sending] = field(default_factory=list)
    number: int = 0

    def fresh(self) -> int:
        """A number nothing else has."""
        self.number += 1
        return self.number

    def money(self) -> tuple[int, str, Decimal]:
        """Smallest units, currency, and the same in major units."""
        minor, currency = self.dice.randint(100, 99_999), self.dice.choice(list(_DECIMALS))
        return minor, currency, Decimal(minor).scaleb(-_DECIMALS[currency])

    def some(self, samples: Sequence[Sample]) -> list[Sample]:
        """One of them or more."""
        return self.dice.sample(samples, self.dice.randint(1, len(samples)))

    def send(self, samples: Sequence[Sample], sources: Sequence[str] = ()) -> tuple[str, ...]:
        """Every webhook one to three times, each time to one of the sources; returns their keys."""
        return tuple(self._send(sample, sources) for sample in samples)

    def _send(self, sample: Sample, sources: Sequence[str]) -> str:
        provider = sample.provider
        ours = sources or SOURCES[provider.name]
        key, sample = named(sample, f"{self.fresh():06d}")
        body = sample.raw()
        for _ in range(self.dice.randint(1, 3)):
            source = ours[0] if self.dice.random() < 0.7 else ours[-1]
            due = self.dice.random()
            self.sendings.append(Sending(due, key, source, provider, sample.headers, body))
        return key

    def put(self, text: str) -> tuple[str, ...]:
        """Straight into the queue, past receive."""
        self.sendings.append(Sending(self.dice.random(), text))
        return (text,)


def _purchase(planner: _Planner) -> None:
    number, (minor, currency, amount) = planner.fresh(), planner.money()
    user = f"user_{number}"
    reports = planner.send(planner.some(payment_reports(number, minor, currency, user)))
    planner.facts.append(
        Fact(f"payment pi_{number}", reports, amount=amount, currency=currency.upper(), user=user)
    )


def _large(planner: _Planner) -> None:
    number, (minor, currency, amount) = planner.fresh(), planner.money()
    user = f"user_{number}"
    sample = planner.dice.choice(payment_reports(number, minor, currency, user))
    # What compresses about as well as real orders do.
    words = planner.dice.choices(_WORDS, k=_LARGE // 5)
    sample.body["data"]["object"]["notes"] = " ".join(words)[:_LARGE]
    planner.facts.append(
        Fact(
            f"large payment pi_{number}",
            planner.send([sample]),
            amount=amount,
            currency=currency.upper(),
            user=user,
        )
    )


def _nobody(planner: _Planner) -> None:
    number, (minor, currency, _) = planner.fresh(), planner.money()
    samples = planner.some(payment_reports(number, minor, currency, None))
    reports = planner.send(samples, SOURCES["stripe"][:1])
    planner.facts.append(Fact(f"payment of nobody pi_{number}", reports, "missing_user"))


def _refunded(planner: _Planner) -> None:
    """A payment and two refunds of it, told as running totals; the second names no user."""
    number = planner.fresh()
    currency, decimals, user = "usd", _DECIMALS["usd"], f"user_{number}"
    minor, first, second = 90_000, planner.dice.randint(1, 9_999), planner.dice.randint(1, 9_999)
    reports = planner.send(planner.some(payment_reports(number, minor, currency, user)))
    planner.facts.append(
        Fact(f"payment pi_{number}", reports, "captured", Decimal(900), "USD", user)
    )
    for before, amount, payer in ((0, first, user), (first, second, None)):
        sample = charge_refunded(number, minor, before, amount, payer)
        planner.facts.append(
            Fact(
                f"refund ch_{number}:{before + amount}",
                planner.send([sample], SOURCES["stripe"] if payer else SOURCES["stripe"][1:]),
                amount=Decimal(amount).scaleb(-decimals),
                currency="USD",
                user=user,
                event_names=frozenset({"purchase_refunded"}),
            )
        )


def _invoiced(planner: _Planner) -> None:
    """An invoice in today's shape or in that before 2025-03-31, some of them made by a Checkout session."""
    number, (minor, currency, amount) = planner.fresh(), planner.money()
    user, old = f"user_{number}", planner.dice.random() < 0.5
    types = ["invoice.paid", "invoice.payment_succeeded"]
    samples = [invoice_paid(each, number, minor, currency, user, old=old) for each in types]
    session = payment_reports(number, minor, currency, user)[0]
    session.body["data"]["object"]["invoice"] = f"in_{number}"
    reports = planner.send(planner.some([*samples, session]))
    planner.facts.append(
        Fact(
            f"invoice in_{number}",
            reports,
            amount=amount,
            currency=currency.upper(),
            user=user,
            event_names=frozenset({"subscription_renewed", "purchase_completed"}),
        )
    )


def _ordered(planner: _Planner) -> None:
    """An order, created and paid; some are paid back, which says for whom only by the order's id."""
    number, (_, currency, amount) = planner.fresh(), planner.money()
    id, code, user = 5_000_000_000 + number, currency.upper(), f"user_{number}"
    samples = [order(each, id, amount, code, user) for each in ("orders/create", "orders/paid")]
    reports = planner.send(planner.some(samples))
    returned = planner.dice.random() < 0.3
    paid = Fact(f"order {id}", reports, "captured", amount, code, user, returned=returned)
    planner.facts.append(paid)
    if returned:
        reports = planner.send([order_paid_back(id, amount, code)], SOURCES["shopify"][1:])
        names = frozenset({"purchase_refunded"})
        planner.facts.append(
            Fact(f"refund of order {id}", reports, "captured", amount, code, user, names)
        )


def _delivered(planner: _Planner) -> None:
    """Two facts in one webhook: whatever befalls one of them must not touch the other."""
    number, (_, currency, amount) = planner.fresh(), planner.money()
    code, user = currency.upper(), f"user_{number}"
    reports = planner.send([delivered(number, amount, code, user)])
    planner.facts += [
        Fact(f"order woo_{number}", reports, "captured", amount, code, user),
        Fact(
            f"delivery woo_{number}",
            reports,
            "captured",
            None,
            code,
            user,
            frozenset({"order_fulfilled"}),
        ),
    ]


# What has to be parked


def _misshapen(planner: _Planner) -> None:
    number = planner.fresh()
    sample = payment_reports(number, 100, "usd", "user")[0]
    sample.body["data"]["object"]["amount_total"] = "a lot"
    planner.facts.append(Fact(f"misshapen cs_{number}", planner.send([sample]), "untranslatable"))


def _crashing(planner: _Planner) -> None:
    number = planner.fresh()
    sample = stripe(CRASHING_TYPE, id=f"pi_{number}")
    reports = planner.send([sample], SOURCES["stripe"][:1])
    planner.facts.append(Fact(f"mapper crash pi_{number}", reports, "untranslatable"))


def _refused(planner: _Planner) -> None:
    number = planner.fresh()
    sample = payment_reports(number, 100, REFUSED_CURRENCY.lower(), f"user_{number}")[1]
    planner.facts.append(Fact(f"refused pi_{number}", planner.send([sample]), "refused"))


def _unreadable(planner: _Planner) -> None:
    text = planner.dice.choice(("not an envelope", '{"v":1}', '{"v":1,"source":7}', "[]"))
    number = planner.fresh()
    reports = planner.put(f"{text}{' ' * number}")
    planner.facts.append(Fact(f"poison {number}", reports, "unreadable"))


def _unroutable(planner: _Planner) -> None:
    number = planner.fresh()
    webhook = Webhook("gone", {}, f'{{"id":"evt_gone_{number}"}}'.encode())
    reports = planner.put(Envelope(webhook, 0.0).seal(providers.load("stripe")))
    planner.facts.append(Fact(f"source gone {number}", reports, "unroutable"))


_SORTS: Final[dict[Callable[[_Planner], None], int]] = {
    _large: 1,
    _nobody: 5,
    _misshapen: 2,
    _crashing: 2,
    _refused: 2,
    _unreadable: 2,
    _unroutable: 2,
    _refunded: 8,
    _invoiced: 16,
    _ordered: 20,
    _delivered: 20,
    _purchase: 40,
}

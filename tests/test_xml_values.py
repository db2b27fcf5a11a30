"""Typed XML: what it says comes back as JSON values, and what does more than say values is refused."""

from __future__ import annotations

import json
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import samples
from tests.samples import registered

from linkrunner_webhooks import xml_values
from linkrunner_webhooks.xml_values import MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, BadXml

# What XML can hold: no control characters, no halves of characters.
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff"))
SPACED = st.lists(st.sampled_from(["\n", "\t", "\r", " ", "x", "<", "&", "]]>", "é", "\U0001f4b8"]))
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**17), 10**17), TEXTS, SPACED.map("".join)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, min_size=1, max_size=4)
    ),
    max_leaves=20,
)


def read(document: str) -> Any:
    """What a document called `it` says."""
    return xml_values.read(document.encode(), "it")


@given(VALUES)
def test_what_is_written_is_read_again(value: Any) -> None:
    """Texts with any space, signs and signs of XML; lists of anything; empty lists and nothing."""
    assert xml_values.read(xml_values.write(value, "it"), "it") == value


@pytest.mark.parametrize(
    ("name", "event_type"), [each for each in registered() if each[0] == "braintree"]
)
def test_samples_are_read_again(name: str, event_type: str) -> None:
    """As they are sent."""
    body = samples.load(name, event_type).body
    assert xml_values.read(xml_values.write(body, "it"), "it") == body


@pytest.mark.parametrize(
    ("document", "value"),
    [
        ("<it/>", ""),
        ("<it></it>", ""),
        ("<it> a </it>", " a "),
        ("<it>1.00</it>", "1.00"),
        ('<it nil="true"/>', None),
        ('<it nil="false">a</it>', "a"),
        ('<it type="integer" nil="true"/>', None),
        ('<it type="integer">\n 42 </it>', 42),
        ('<it type="integer">-1</it>', -1),
        ('<it type="integer"/>', None),
        ('<it type="integer">4.5</it>', "4.5"),
        ('<it type="integer">\uff11</it>', "\uff11"),
        (f'<it type="integer">{"9" * 5000}</it>', "9" * 5000),
        ('<it type="integer">1_0</it>', "1_0"),
        ('<it type="boolean"> true </it>', True),
        ('<it type="boolean">0</it>', False),
        ('<it type="boolean">1</it>', True),
        ('<it type="boolean">yes</it>', "yes"),
        ('<it type="boolean"/>', None),
        ('<it type="datetime">2026-11-18T13:36:44Z</it>', "2026-11-18T13:36:44Z"),
        ('<it type="date"/>', None),
        ('<it type="array"/>', []),
        ("<it type='array'> </it>", []),
        ('<it type="other">a</it>', "a"),
        ('<it type="array"><a>1</a><b type="integer">2</b></it>', ["1", 2]),
        ("<it><a-b>1</a-b><a_b2>2</a_b2></it>", {"a_b": "1", "a_b2": "2"}),
        ("<it><a>1</a><a>2</a></it>", {"a": "2"}),
        ("<it>\n <a>1</a>\n lost </it>", {"a": "1"}),
        ("<it><!-- no --><a>1</a></it>", {"a": "1"}),
        ("<it><![CDATA[<a>&amp;]]></it>", "<a>&amp;"),
        ("<it>&lt;&amp;&gt;&quot;&apos;&#65;&#x1F4B8;</it>", "<&>\"'A\U0001f4b8"),
        ('<?xml version="1.0" encoding="UTF-8"?>\n<it>é</it>', "é"),
        (" \n<it>a</it>\n ", "a"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?><it>é</it>', "é"),
    ],
)
def test_what_a_document_says(document: str, value: object) -> None:
    """In every type; what is not of its type stays a text."""
    found = read(document)
    assert found == value
    assert type(found) is type(value)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
REFUSED = {
    "nothing": "",
    "text": "it",
    "no end": "<it>",
    "no beginning": "</it>",
    "two": "<it/><it/>",
    "after": "<it/>x",
    "crossed": "<it><a></it></a>",
    "another": "<that/>",
    "ampersand": "<it>&</it>",
    "twice": '<it a="" a=""/>',
    "no entity": "<it>&nbsp;</it>",
    "control": "<it>\x00</it>",
    "escaped control": "<it>&#0;</it>",
    "surrogate": "<it>&#xD800;</it>",
    "document type": "<!DOCTYPE it><it/>",
    "document type of another": '<!DOCTYPE it SYSTEM "https://example.com/it.dtd"><it/>',
    "billion laughs": f'<!DOCTYPE it [<!ENTITY l0 "ha">{LAUGHS}]><it>&l9;</it>',
    "quadratic": f'<!DOCTYPE it [<!ENTITY a "{"a" * 50_000}">]><it>{"&a;" * 50_000}</it>',
    "unused entity": '<!DOCTYPE it [<!ENTITY a "a">]><it/>',
    "file": '<!DOCTYPE it [<!ENTITY a SYSTEM "file:///etc/passwd">]><it>&a;</it>',
    "link": '<!DOCTYPE it [<!ENTITY a SYSTEM "http://169.254.169.254/">]><it>&a;</it>',
    "parameter": '<!DOCTYPE it [<!ENTITY % a SYSTEM "http://example.com/a.dtd">%a;]><it/>',
    "attributes": '<!DOCTYPE it [<!ATTLIST it type CDATA "integer">]><it>1</it>',
    "notation": '<!DOCTYPE it [<!NOTATION a SYSTEM "a">]><it/>',
    "instruction": "<it><?php echo 1 ?></it>",
    "style sheet": '<?xml-stylesheet href="a.xsl"?><it/>',
    "instruction behind": "<it/><?a?>",
    "declaration inside": '<it><?xml version="1.0"?></it>',
    "too deep": "<it>" * 33 + "</it>" * 33,
    "much too deep": "<it>" * 500_000,
    "too many": f"<it>{'<a/>' * MAX_ELEMENTS}</it>",
    "too long": f"<it>{'a' * MAX_BYTES}</it>",
    "half": "<it>a</i",
}


@pytest.mark.parametrize("document", REFUSED.values(), ids=REFUSED.keys())
def test_what_does_more_is_refused(document: str) -> None:
    """At once, whatever it would grow to, and without a word of it."""
    began = process_time()
    with pytest.raises(BadXml) as refused:
        read(document)
    assert process_time() - began < 2
    assert len(str(refused.value)) < 60


@pytest.mark.parametrize(
    "document",
    [
        b"\xff\xfe<\x00i\x00t\x00/\x00>\x00",
        b"<it>\xff</it>",
        b"\xc0\xbcit/>",
        "<it/>".encode("utf-32"),
        "<it/>".encode("utf-16-le"),
    ],
)
def test_only_one_encoding_is_read(document: bytes) -> None:
    """In another one the same bytes could say something else."""
    with pytest.raises(BadXml):
        xml_values.read(document, "it")


@given(st.binary(max_size=200))
def test_bytes_raise_nothing_else(document: bytes) -> None:
    """Whatever they are."""
    for each in (document, b"<it>" + document + b"</it>", b"<it><a " + document):
        try:
            json.dumps(xml_values.read(each, "it"))
        except BadXml:
            continue


def test_what_is_large_and_flat_is_read() -> None:
    """A subscription of many years has a few thousand transactions at most."""
    rows = [{"id": str(number), "amount": "10.00"} for number in range(20_000)]
    assert xml_values.read(xml_values.write(rows, "it"), "it") == rows
    deep = "<it>" * MAX_DEPTH + "</it>" * MAX_DEPTH
    assert read(deep)


@pytest.mark.parametrize(
    "value",
    [
        {"": 1},
        {"a b": 1},
        {"a>": 1},
        {"_a": 1},
        {"é": 1},
        {"a": "\x00"},
        {"a": "\ud800"},
        {"a": "\uffff"},
    ],
)
def test_what_xml_cannot_say_is_not_written(value: object) -> None:
    """A name that is none, a character that no XML can hold."""
    with pytest.raises(ValueError, match=r"element|character|surrogates"):
        xml_values.write(value, "it")


def test_a_fraction_becomes_a_text() -> None:
    """Amounts are texts; and an object of nothing is an empty text."""
    assert xml_values.read(xml_values.write({"a": 12.5, "b": {}}, "it"), "it") == {
        "a": "12.5",
        "b": "",
    }

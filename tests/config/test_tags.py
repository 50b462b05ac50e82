"""What a set of tags says of entities, by the schemes that are in use."""

import pytest

from ptm.config.tags import entity_tags


@pytest.mark.parametrize(
    ("tags", "places"),
    [
        (["O", "B-X", "I-X"], {"B-X": "B", "I-X": "I"}),
        (["O", "B-X", "I-X", "E-X", "S-X"], {"B-X": "B", "I-X": "I", "E-X": "E", "S-X": "S"}),
        (["O", "B-X", "I-X", "L-X", "U-X"], {"B-X": "B", "I-X": "I", "L-X": "E", "U-X": "S"}),
        (["O", "B-X", "M-X", "E-X", "W-X"], {"B-X": "B", "M-X": "I", "E-X": "E", "W-X": "S"}),
        (["O", "B_X", "I_X"], {"B_X": "B", "I_X": "I"}),
        (["O", "X-B", "X-I"], {"X-B": "B", "X-I": "I"}),
        (["O", "X", "Y"], {"X": "I", "Y": "I"}),
    ],
    ids=["IOB2", "BIOES", "BILOU", "BMEWO", "underscores", "place last", "IO"],
)
def test_the_place_in_an_entity_by_scheme(tags, places):
    found = entity_tags(tags)
    assert {tag: place for tag, (place, _) in found.items()} == places


def test_the_kind_may_itself_have_a_hyphen():
    assert entity_tags(["O", "B-product-car", "I-product-car"])["I-product-car"] == ("I", "product-car")
    assert entity_tags(["O", "product-car-B"]) == {"product-car-B": ("B", "product-car")}


def test_tags_of_one_scheme_only_have_places():
    """Beside a tag without a place, `B-X` is a kind of its own."""
    assert entity_tags(["O", "B-X", "date"]) == {"B-X": ("I", "B-X"), "date": ("I", "date")}


@pytest.mark.parametrize("tags", [[], ["O"], ["NOUN", "VERB"], ["B", "I"]])
def test_classes_of_words_name_no_entities(tags):
    assert entity_tags(tags) == {}

"""What a set of tags says of entities, by the schemes that are in use."""

import re

import pytest

from ptm.config.tags import broken_entity, entity_tags


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


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("B-X I-X E-X O S-X S-Y B-Y E-Y", None),
        ("B-X O E-Y", (0, "'B-X' goes on with 'O'")),
        ("O E-Y", (1, "'E-Y' goes on with what has not begun")),
        ("S-X I-X", (1, "'I-X' goes on with what has not begun")),
        ("B-X E-Y", (0, "'B-X' goes on with 'E-Y'")),
        ("O B-X I-X", (2, "'I-X' goes on with nothing")),
        ("B-X B-X E-X", (0, "'B-X' goes on with 'B-X'")),
    ],
)
@pytest.mark.parametrize("letters", ["BIES", "BILU", "BMEW"])
def test_11_01_entities_of_bioes_and_its_kin_have_both_ends(tags, found, letters):
    def written(text):
        return re.sub("[BIES](?=-)", lambda letter: letters["BIES".index(letter[0])], text)

    known = entity_tags(written("O B-X I-X E-X S-X B-Y E-Y S-Y").split())
    assert broken_entity(written(tags).split(), known) == (found and (found[0], written(found[1])))


def test_11_01_other_schemes_have_no_broken_entity():
    for tags in ("O I-X", "B-X I-Y", "I-X B-X"):
        assert broken_entity(tags.split(), entity_tags(["O", "B-X", "I-X", "B-Y", "I-Y"])) is None
    assert broken_entity(["O", "E-X", "I-X"], entity_tags(["O", "E-X", "I-X"])) is None  # IOE1

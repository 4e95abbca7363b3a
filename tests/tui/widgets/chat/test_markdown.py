"""Painter: controls that the parser makes of entities, and images as their alt text."""

import pytest

from lmx_tui.theme import load_themes
from lmx_tui.widgets.chat.markdown import Painter

COLORS = {"accent": "#ff0000", "muted": "#888888", "secondary": "#00ff00", "foreground": "#ffffff"}


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(load_themes()[0][0].variables | COLORS)


def drawn(painter: Painter, source: str, width: int = 60) -> str:
    return "\n".join(strip.text.rstrip() for strip in painter.strips(source, width))


@pytest.mark.parametrize("place", ["{}", "`{}`", "[{}](http://host)", "![{}](picture.png)", "| {} |\n|---|", "# {}"])
@pytest.mark.parametrize("entity", ["&#27;[31m", "&#x9b;1m", "&#x202e;", "&#x2028;", "&#13;"])
def test_entity_never_becomes_a_control_character(painter: Painter, place: str, entity: str) -> None:
    text = drawn(painter, f"before\n\n{place.format(f'a{entity}z')}")
    assert all(character.isprintable() or character == "\n" for character in text), repr(text)
    assert "before" in text


def test_image_is_its_alt_text_at_its_place(painter: Painter) -> None:
    assert drawn(painter, "See ![the *logo*](a.png) here.") == "See [image: the logo] here."
    assert drawn(painter, "[![build](b.svg)](https://host/ci) passes") == "[image: build] (https://host/ci) passes"
    assert drawn(painter, "A ![](pixel.gif)B") == "A B"


def test_link_shows_its_address_and_is_no_hyperlink(painter: Painter) -> None:
    strips = painter.strips("Read [the guide](https://host/guide).", 60)
    assert strips[0].text.rstrip() == "Read the guide (https://host/guide)."
    assert not any(segment.style and segment.style.link for strip in strips for segment in strip)

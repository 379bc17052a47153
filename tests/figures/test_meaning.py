"""Colours, lines and marks that mean the same on every page, and can be told apart."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest

from sgdscope.errors import InvalidInput
from sgdscope.figures import BATCHES, INK, MUTED, RATES, SERIES, batch_colours, mark_break_even, rate_colours, reference
from sgdscope.figures.style import FONT, house_style, settings

# What a dichromat sees (Machado, Oliveira, Fernandes 2009, severity 1), in linear RGB.
EYES = {
    "trichromat": np.eye(3),
    "protanope": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deuteranope": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]),
    "tritanope": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]]),
}


def linear(colour):
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    lms = np.array(
        [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]]
    )
    last = np.array(
        [[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099], [0.0259040371, 0.7827717662, -0.808675766]]
    )
    return last @ np.cbrt(lms @ rgb.clip(0, 1))


def apart(one, other, eye):
    """Distance in OKLab, in hundredths."""
    return 100 * np.linalg.norm(oklab(EYES[eye] @ linear(one)) - oklab(EYES[eye] @ linear(other)))


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("ramp", [RATES, BATCHES], ids=["rates", "batches"])
def test_steps_of_a_ramp_can_be_told_apart(ramp, eye):
    assert min(apart(one, other, eye) for one, other in itertools.pairwise(ramp)) > 4
    assert apart(ramp[0], ramp[-1], eye) > 25


@pytest.mark.parametrize("ramp", [RATES, BATCHES], ids=["rates", "batches"])
def test_a_ramp_survives_grey(ramp):
    luminance = [linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in ramp]
    assert luminance == sorted(luminance)


def test_colours_are_all_different():
    colours = [*SERIES, *RATES, *BATCHES, INK, MUTED]
    assert len(set(colours)) == len(colours)  # or one would follow another's name


def test_colours_go_by_value_and_not_by_order():
    assert rate_colours([0.1, 0.001, 0.01]) == rate_colours([0.01, 0.1, 0.001, 0.1])
    assert rate_colours([0.1, 0.01])[0.01] == RATES[0] and rate_colours([0.1, 0.01])[0.1] == RATES[-1]
    assert rate_colours([0.3]) == {0.3: RATES[0]}
    assert list(rate_colours(range(1, 7)).values()) == list(RATES)
    assert len(set(rate_colours(range(1, 6)).values())) == 5


def test_the_full_batch_is_ink():
    assert batch_colours([1, 16, 256], full=256) == {1: BATCHES[0], 16: BATCHES[-1], 256: INK}
    assert batch_colours([1, 16], full=256) == {1: BATCHES[0], 16: BATCHES[-1]}


def test_of_many_values_neighbours_share_a_colour():
    colours = list(rate_colours(range(10)).values())
    assert list(dict.fromkeys(colours)) == list(RATES) and len(colours) == 10  # in order, none left out


@pytest.mark.parametrize(("end", "place"), [("left", 0), ("right", 1)])
def test_reference_lines(end, place):
    with house_style():
        drawing, axis = plt.subplots()
        reference(axis, y=2, says="full batch: 2", end=end)
        reference(axis, x=1, says="here")
        reference(axis, x=3)
        plt.close(drawing)
    assert [line.get_color() for line in axis.lines] == [MUTED] * 3 and all(line.is_dashed() for line in axis.lines)
    assert [(text.get_text(), text.xy[0]) for text in axis.texts] == [("full batch: 2", place), ("here", 1)]


@pytest.mark.parametrize("given", [{}, {"x": 1, "y": 2}])
def test_a_reference_line_goes_one_way(given):
    _, axis = plt.subplots()
    plt.close()
    with pytest.raises(InvalidInput, match="a reference line takes x or y, one of the two"):
        reference(axis, **given)


def test_the_break_even_point():
    drawing, axis = plt.subplots()
    mark_break_even(axis, [3.0], [1.0], RATES[0], label="break-even point")
    plt.close(drawing)
    (mark,) = axis.lines
    assert mark.get_linestyle() == "None" and mark.get_markeredgecolor() == RATES[0] and mark.get_label() == "break-even point"


def test_the_letters_are_ours():
    """None is taken from another font, on any machine."""
    from matplotlib import font_manager

    settings()
    assert {settings()[f"mathtext.{name}"].split(":")[0] for name in ("rm", "it", "bf", "sf", "tt", "cal", "bfit")} == {FONT}
    for options in ({}, {"weight": "semibold"}, {"style": "italic"}):
        found = font_manager.findfont(font_manager.FontProperties(family=FONT, **options), fallback_to_default=False)
        assert "sgdscope" in found
    font = font_manager.get_font(font_manager.findfont(font_manager.FontProperties(family=FONT)))
    assert set(map(ord, "abcXYZ0123456789+−×·²ηλψσΣΔ≤≥–“”é")) <= set(font.get_charmap())

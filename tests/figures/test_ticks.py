"""Plain numbers on logarithmic axes."""

from matplotlib.figure import Figure

from sgdscope.figures import plain_ticks


def labels(low, high, *at):
    axis = Figure().add_subplot()
    axis.set(yscale="log", ylim=(low, high))
    plain_ticks(axis.yaxis, *at)
    ticks = axis.yaxis.get_majorticklocs()
    shown = [axis.yaxis.get_major_formatter()(tick) for tick in ticks if low <= tick <= high]
    assert not axis.yaxis.get_minor_formatter()(2 * low)
    return shown


def test_few_decades_have_one_two_five():
    assert labels(0.4, 30) == ["0.5", "1", "2", "5", "10", "20"]


def test_two_decades_have_their_powers_as_plain_numbers():
    assert labels(0.05, 40) == ["0.1", "1", "10"]


def test_many_decades_keep_powers_of_ten():
    assert labels(1e-6, 1)[0].startswith("$")


def test_ticks_may_be_given():
    assert labels(1e-6, 1, 1e-5, 0.5) == ["1e−05", "0.5"]

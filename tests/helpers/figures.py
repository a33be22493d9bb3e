"""Helpers of the tests of figures."""


def lines(ax):
    """The lines of an Axes by their labels."""
    return {line.get_label(): line for line in ax.get_lines()}


def tick_labels(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def legend_texts(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]

"""Matplotlib style sheets of the book: ``plt.style.use("mmlib.styles.book")``."""

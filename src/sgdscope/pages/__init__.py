"""Pages: the notebooks of the book, their parameters, their execution and the staging of the book."""

from sgdscope.pages.page import SCALES, Page, all_pages, find

__all__ = ["SCALES", "Page", "all_pages", "find"]

"""A page's parameters as its readers see them: a table of the values in force, and the command that changes one."""

from __future__ import annotations

import json
import shlex
from html import escape
from typing import Any

from sgdscope.pages.page import Page


def parameters_markdown(page: Page, values: dict[str, Any]) -> str:
    """The table as MyST Markdown; a value that is not the quick one says so."""
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{_value(values[name])}{_published(values[name], parameter.default)}</td>"
        f"<td>{escape(parameter.says)}</td></tr>"
        for name, parameter in page.parameters.items()
    )
    return (
        '```{raw} html\n<div class="sgd-table-wrap"><table class="sgd-parameters"><thead><tr><th>parameter</th><th>value</th>'
        f"<th>what it is</th></tr></thead><tbody>{rows}</tbody></table></div>\n```\n\n"
        f"To run this page with other values:\n\n```bash\n{example(page)}\n```"
    )


def example(page: Page) -> str:
    """A command that runs the page with one value changed: the first list shortened, or else the first parameter given anew."""
    lists = [name for name, parameter in page.parameters.items() if isinstance(parameter.default, list) and len(parameter.default) > 1]
    name = lists[0] if lists else next(iter(page.parameters))
    default = page.parameters[name].default
    return f"sgdscope execute {page.name} -p {name} {shlex.quote(json.dumps(default[:2] if lists else default))}"


def _value(value: Any) -> str:
    """A value without brackets and quotes."""
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return escape(value if isinstance(value, str) else repr(value))


def _published(value: Any, default: Any) -> str:
    """What the quick scale has, where that differs."""
    return "" if value == default else f' <span class="sgd-detail">(quick: {_value(default)})</span>'

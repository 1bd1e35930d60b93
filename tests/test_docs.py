"""What the documents promise exists: commands, options, files. Nothing in them is of one machine."""

import re
import shlex
from pathlib import Path

import click
import pytest

from pipelines.cli import main
from pipelines.resources import CHECKOUT

DOCUMENTS = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").rglob("*.md")])
COMMAND = re.compile(r"^\s*(?:\$\s+)?(trine(?: .*)?)$|`(trine [^`]*)`", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
OF_ONE_MACHINE = re.compile(r"(?<![\w.])/(?:home|root|work|tmp|Users|mnt|opt)/|[A-Z]:\\\\")


def commands(text: str) -> list[str]:
    """Return each `trine ...` of a document, in code spans and at the start of lines of code blocks."""
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    found = [line or span for line, span in COMMAND.findall(blocks)]
    return found + [span for _, span in COMMAND.findall(prose) if span]


def names_of(documents: list[Path]) -> list[str]:
    return [str(document.relative_to(CHECKOUT)) for document in documents]


@pytest.mark.parametrize("document", DOCUMENTS, ids=names_of(DOCUMENTS))
def test_every_command_that_is_shown_exists_with_its_options(document: Path) -> None:
    for shown in commands(document.read_text(encoding="utf-8")):
        name, *arguments = shlex.split(shown, comments=True)[1:]
        if name.startswith("-"):
            continue
        assert name in main.commands, shown
        command = main.commands[name]
        try:
            command.make_parser(click.Context(command)).parse_args(arguments)
        except click.UsageError as error:
            pytest.fail(f"{shown}: {error.message}")


def test_a_command_that_does_not_exist_would_be_seen() -> None:
    assert commands("```console\n$ trine go --far\nother\n```\nSee `trine stop` or trine.") == [
        "trine go --far",
        "trine stop",
    ]
    assert any(commands(document.read_text(encoding="utf-8")) for document in DOCUMENTS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=names_of(DOCUMENTS))
def test_every_relative_link_leads_to_a_file(document: Path) -> None:
    links = [link.split("#")[0] for link in LINK.findall(document.read_text(encoding="utf-8"))]
    local = [link for link in links if link and not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=names_of(DOCUMENTS))
def test_no_document_names_a_place_on_one_machine(document: Path) -> None:
    assert OF_ONE_MACHINE.findall(document.read_text(encoding="utf-8")) == []

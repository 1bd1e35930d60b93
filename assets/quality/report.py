"""Judges the stored records of a batch by the rules of schemas.expectations, and writes a report for people.

Great Expectations runs the rules and renders its Data Docs. Those pages load scripts, styles and a logo from
outside, so each page written is made to use the copies in `offline/`, and opens complete without a network.
"""

import re
import shutil
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import schemas.records  # noqa: F401  Teaches SQLite the exact functions that the rules use.
from schemas.errors import BrokenInvariant
from schemas.expectations.cycle import RULES, Rule, Severity

OFFLINE = Path(__file__).parent / "offline"
SUITES: dict[Severity, str] = {"BLOCK": "must-hold", "WARN": "worth-knowing"}
LISTED_MAX = 120  # Results on the index page, newest first. The pages of older ones stay where they are.

# What the pages load from outside -> what of ours they get instead. What is not here is left out: charts and
# a dark theme, for which our pages have no use, and Popper, which is part of our Bootstrap bundle.
COPIES = (
    ("bootstrap-table-filter-control.min.js", ("bootstrap-table/bootstrap-table-filter-control.min.js",)),
    ("bootstrap-table-filter-control", ("bootstrap-table/bootstrap-table-filter-control.min.css",)),
    ("bootstrap-table.min.css", ("bootstrap-table/bootstrap-table.min.css",)),
    ("bootstrap-table.min.js", ("bootstrap-table/bootstrap-table.min.js",)),
    ("bootstrap-datepicker.min.css", ("bootstrap-datepicker/bootstrap-datepicker.min.css",)),
    ("bootstrap-datepicker.min.js", ("bootstrap-datepicker/bootstrap-datepicker.min.js",)),
    ("bootstrap.min.css", ("bootstrap/bootstrap.min.css",)),
    ("bootstrap.min.js", ("bootstrap/bootstrap.bundle.min.js",)),
    ("jquery-3.7.1.min.js", ("jquery/jquery.min.js",)),
    ("font-awesome", ("fontawesome/css/fontawesome.min.css", "fontawesome/css/solid.min.css")),
)
LOADED = re.compile(
    r"<script[^>]*\bsrc=\"(?P<script>https?:[^\"]*)\"[^>]*>\s*</script>"
    r"|<link[^>]*\bhref=\"(?P<style>https?:[^\"]*)\"[^>]*>"
)
# The logo (its address tells the context's id), the newsletter, the favicon, links to the maker's site.
UNWANTED = (
    (re.compile(r"<img[^>]*\bsrc=\"https?:[^>]*>"), '<span class="h3 text-dark">Trine</span>'),
    (re.compile(r"background: url\('https?:[^;]*;"), ""),
    (re.compile(r"<footer>.*?</footer>", re.DOTALL), ""),
    (re.compile(r"<link rel=\"shortcut icon\"[^>]*>"), ""),
    (re.compile(r"<a href=\"https?:[^>]*>(.*?)</a>", re.DOTALL), r"\1"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one rule. `found` counts the rows that break it and never shows them."""

    rule: str
    statement: str
    severity: Severity
    success: bool
    found: str


def judge(records_url: str, batch_id: str, docs: Path) -> list[Verdict]:
    """Judge the stored batch by every rule, add the result to the site in `docs`, return a verdict per rule.

    All rules run in one checkpoint; one whose query cannot run has failed. The site's index.html lists the
    runs of all batches that were judged into it. Nothing is written elsewhere or leaves the machine.
    """
    if not re.fullmatch(r"[A-Za-z0-9._/#-]+", batch_id):
        raise BrokenInvariant("a batch's id has a character that cannot stand in a query. Nothing was judged.")
    import great_expectations as gx  # It costs seconds, so only who judges pays.
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import ExpectationSuiteIdentifier

    docs, run_name = docs.absolute(), re.sub(r"[/#]", "-attempt-", batch_id)
    # By name, because a dollar sign in an address itself would be read as the name of a variable.
    places = {"RECORDS_URL": records_url, "DOCS": str(docs)}
    context = gx.get_context(mode="ephemeral", project_config=_site(), runtime_environment=places)
    sources = context.data_sources
    add_source = sources.add_sqlite if records_url.startswith("sqlite") else sources.add_postgres
    source = add_source(name="records", connection_string="${RECORDS_URL}")
    stored = source.add_table_asset("batches").add_batch_definition_whole_table("stored")
    definitions = []
    for severity, name in SUITES.items():
        rules = [_expectation()(rule, batch_id) for rule in RULES if rule.severity == severity]
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=rules))
        definition = gx.ValidationDefinition(name=name, data=stored, suite=suite)
        definitions.append(context.validation_definitions.add(definition))
    checkpoint = context.checkpoints.add(gx.Checkpoint(name="batch", validation_definitions=definitions))
    try:
        outcome = checkpoint.run(run_id=RunIdentifier(run_name=run_name))
    finally:
        source.get_engine().dispose()
    # One build for all: as an action of the checkpoint it would be one for each suite.
    written: Any = [*outcome.run_results, *map(ExpectationSuiteIdentifier, SUITES.values())]
    context.build_data_docs(resource_identifiers=written)
    suites: Any = outcome.run_results.values()
    results = {result.expectation_config.meta["rule"]: result for suite in suites for result in suite.results}
    pages = (docs / "index.html", *docs.glob("expectations/*"), *docs.glob(f"validations/*/{run_name}/*/*"))
    _make_offline(docs, pages)
    verdicts = []
    for rule in RULES:
        result = results[rule.name]
        verdicts.append(Verdict(rule.name, rule.statement, rule.severity, bool(result.success), _found(result)))
    return verdicts


def _site() -> Any:
    """The configuration of a context that lives in memory, but for the results and the pages in ${DOCS}."""
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    folder = {"class_name": "TupleFilesystemStoreBackend", "base_directory": "${DOCS}"}
    defaults = InMemoryStoreBackendDefaults()
    # The results are kept, because the index of the site is made from them.
    defaults.stores[defaults.validation_results_store_name]["store_backend"] = {
        **folder,
        "base_directory": "${DOCS}/results",
        "filepath_suffix": ".json",
    }
    defaults.data_docs_sites = {
        "quality": {
            "class_name": "SiteBuilder",
            "show_how_to_buttons": False,
            "store_backend": folder,
            "site_index_builder": {
                "class_name": "DefaultSiteIndexBuilder",
                "validation_results_limit": LISTED_MAX,
            },
        }
    }
    return DataContextConfig(
        store_backend_defaults=defaults,
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )


@cache
def _expectation() -> Any:
    """The class of expectation that is one rule: it is made here because its base is slow to import."""
    from great_expectations.expectations.core import UnexpectedRowsExpectation
    from great_expectations.render import CollapseContent, LegacyRendererType, RenderedStringTemplateContent
    from great_expectations.render.components import LegacyDiagnosticRendererType
    from great_expectations.render.renderer.renderer import renderer

    def shown(text: str, **look: Any) -> Any:
        template = {"template": "$text", "params": {"text": text}, **look}
        return RenderedStringTemplateContent(content_block_type="string_template", string_template=template)

    class StoredRecordsAgree(UnexpectedRowsExpectation):
        """A rule: its query finds no rows. The page shows the sentence, the query on demand, and a count."""

        def __init__(self, rule: Rule | None = None, batch_id: str = "", **given: Any) -> None:
            if rule is not None:
                query = textwrap.dedent(rule.sql).strip().replace(":batch", f"'{batch_id}'")
                given = {
                    # Without the comment the library prints a warning for each rule.
                    "unexpected_rows_query": f"/* {{batch}} */ {query}",
                    "severity": "critical" if rule.severity == "BLOCK" else "warning",
                    "meta": {"rule": rule.name, "statement": rule.statement, "query": query},
                }
            super().__init__(**given)

        @classmethod
        @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
        def _prescriptive_renderer(
            cls, configuration: Any = None, result: Any = None, runtime_configuration: Any = None, **_: Any
        ) -> list[Any]:
            meta = configuration.meta
            query = shown("\n" + meta["query"], tag="pre", styling={"styles": {"white-space": "pre-wrap"}})
            return [shown(meta["statement"]), CollapseContent([query], "How it is checked")]

        @classmethod
        @renderer(renderer_type=LegacyDiagnosticRendererType.UNEXPECTED_STATEMENT)
        def _diagnostic_unexpected_statement_renderer(
            cls, configuration: Any = None, result: Any = None, runtime_configuration: Any = None
        ) -> list[Any]:
            return []  # It would show tracebacks.

        @classmethod
        @renderer(renderer_type=LegacyDiagnosticRendererType.OBSERVED_VALUE)
        def _diagnostic_observed_value_renderer(
            cls, configuration: Any = None, result: Any = None, runtime_configuration: Any = None
        ) -> str:
            return _found(result)

    return StoredRecordsAgree


def _found(result: Any) -> str:
    """Say how many rows break a rule. Never the rows, nor an error's text, which may hold a part of one."""
    count = result.result.get("observed_value")
    if count is None:
        return "it could not be judged: its query did not run"
    return "0 rows" if count == 0 else "1 row breaks it" if count == 1 else f"{count:,} rows break it"


def _make_offline(docs: Path, pages: Iterable[Path]) -> None:
    """Make the pages load from copies beside them, and from nowhere else."""
    shutil.copytree(OFFLINE, docs / "offline", dirs_exist_ok=True)
    shutil.rmtree(docs / "static", ignore_errors=True)  # Fonts and films that no page uses any more.
    for page in pages:
        root = "../" * (len(page.relative_to(docs).parts) - 1) + "offline/"
        text = page.read_text(encoding="utf-8")
        text = LOADED.sub(partial(_copies, root), text)
        for unwanted, instead in UNWANTED:
            text = unwanted.sub(instead, text)
        page.write_text(text, encoding="utf-8")


def _copies(root: str, found: re.Match[str]) -> str:
    address = found["script"] or found["style"]
    files = next((copies for part, copies in COPIES if part in address), ())
    script, style = '<script src="{}"></script>', '<link rel="stylesheet" href="{}">'
    return "\n".join((script if file.endswith(".js") else style).format(root + file) for file in files)

"""Recipes as they are written in public: for each, what the check says for either nucleus."""

from __future__ import annotations

import pytest

from emflow.recipes.lint.check import check
from emflow.recipes.lint.context import RecipeContext, Target
from recipes.corpus import CORPUS, FOLDER


def errors(name: str, nucleus: Target) -> list[str]:
    found = check((FOLDER / name).read_text(), RecipeContext(nucleus=nucleus))
    return [str(finding) for finding in found if finding.severity == "error"]


def test_the_folder_and_the_table_have_the_same_recipes() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.suffix in (".yaml", ".json")} == set(CORPUS)
    assert len([known for known in CORPUS.values() if not known.classic]) >= 20


@pytest.mark.parametrize("name", CORPUS)
def test_what_the_classic_nucleus_does_is_reported(name: str) -> None:
    said = errors(name, Target.CLASSIC)
    if CORPUS[name].classic:
        assert CORPUS[name].classic in said[0]
    else:
        assert said == []


@pytest.mark.parametrize("name", CORPUS)
def test_what_the_lite_nucleus_refuses_is_reported_once_each(name: str) -> None:
    said = errors(name, Target.LITE)
    rest = list(said)
    for part in CORPUS[name].lite:
        rest.remove(next((line for line in rest if part in line), f"no line with {part!r} in {said}"))
    assert rest == []


@pytest.mark.parametrize("name", [name for name, known in CORPUS.items() if not known.classic])
def test_what_only_the_lite_nucleus_refuses_is_a_warning_while_it_is_not_known(name: str) -> None:
    found = check((FOLDER / name).read_text())
    assert {finding.severity for finding in found} <= {"warning"}


def test_a_manifest_for_the_classic_nucleus_has_no_finding_about_the_other() -> None:
    assert check((FOLDER / "database-in-a-container.yaml").read_text()) == ()

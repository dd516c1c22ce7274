"""Recipes as the cloud stores them. What a recipe means and which are refused, `emflow.recipes.reader` knows.

The cloud accepts keys in any case; stored and returned recipes have the case in which devices read them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from emflow.json_text import to_json
from emflow.recipes.reader import recipe as reader
from emflow.recipes.reader.platforms import fits
from emflow.recipes.reader.recipe import Document
from emflow.recipes.reader.structure import NUCLEUS
from emflow_emulator.aws.errors import ApiError, invalid


@dataclass(frozen=True)
class Recipe:
    """A recipe that passed the checks. `document` is the whole recipe, with the keys as the cloud writes them."""

    recipe: reader.Recipe

    @property
    def document(self) -> Document:
        return self.recipe.document

    @property
    def name(self) -> str:
        return self.recipe.name

    @property
    def version(self) -> str:
        return self.recipe.version

    @property
    def description(self) -> str:
        return self.recipe.description

    @property
    def publisher(self) -> str:
        return self.recipe.publisher

    @property
    def artifacts(self) -> Iterator[Document]:
        """The artifacts of the document, which the cloud adds digests to."""
        for manifest in self.document["Manifests"]:
            yield from manifest.get("Artifacts") or ()

    @property
    def platforms(self) -> list[dict[str, Any]]:
        """The platforms as the API lists them: a name and attributes for each manifest."""
        return [
            {"name": manifest.name or _title(manifest.platform), "attributes": dict(manifest.platform)}
            for manifest in self.recipe.manifests
            if manifest.platform
        ]

    def fits(self, platform: Mapping[str, str]) -> bool:
        """Whether any manifest matches a device with these attributes."""
        return any(fits(manifest.platform, platform, unknown=True) for manifest in self.recipe.manifests)

    def text(self, form: str) -> bytes:
        """The recipe as `JSON` or `YAML`."""
        if form == "YAML":
            return yaml.safe_dump(self.document, sort_keys=False, allow_unicode=True).encode()
        return to_json(self.document, ascii_only=False).encode()


def public(document: Mapping[str, Any]) -> Recipe:
    """One of AWS's own recipes, which need no check."""
    return Recipe(reader.of_document(document))


def parse(data: bytes) -> Recipe:
    """Read and check a recipe.

    Raises:
        ApiError: a ValidationException whose `fields` name each error.
    """
    reading = reader.read(data)
    if reading.recipe is not None and reading.recipe.kind == NUCLEUS:
        raise _refusal(f"ComponentType: {NUCLEUS} is AWS's own", ("ComponentType", f"{NUCLEUS!r} is AWS's own"))
    if reading.recipe is not None:
        return Recipe(reading.recipe)
    if not isinstance(reading.text.value, dict):
        (error, *_) = reading.errors
        where = f" at line {error.line}" if error.line else ""
        what = error.message.removeprefix("is no YAML: ")
        raise _refusal(f"the recipe is neither YAML nor JSON: {what}{where}", reason="CANNOT_PARSE")
    wrong = [(each.about, f"{each.message}; {each.mend}" if each.mend else each.message) for each in reading.errors]
    raise _refusal("; ".join(f"{field}: {why}" for field, why in wrong), *wrong)


def _title(platform: Mapping[str, str]) -> str:
    parts = [platform[key].capitalize() for key in ("os", "architecture") if platform.get(key)]
    return " ".join(part for part in parts if part != "*") or "All"


def _refusal(text: str, *fields: tuple[str, str], reason: str = "FIELD_VALIDATION_FAILED") -> ApiError:
    return invalid(f"Invalid Input: {text}", *fields, reason=reason)

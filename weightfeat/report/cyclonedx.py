"""CycloneDX 1.6: an inventory of machine-learning models, each with its hash and what was said of it."""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING

from weightfeat.errors import needs
from weightfeat.report.document import entry_object
from weightfeat.report.types import Entry, Heading, Report

if TYPE_CHECKING:
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component

__all__ = ["cyclonedx"]


def cyclonedx(report: Report) -> str:
    """The inventory as JSON text.

    Raises NotInstalled where cyclonedx-python-lib is absent (the extra `bom`).
    """
    with needs("bom", "--format cyclonedx"):
        from cyclonedx.output.json import JsonV1Dot6
    return JsonV1Dot6(_bom(report)).output_as_string(indent=1) + "\n"


def _bom(report: Report) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.tool import ToolRepository

    heading = report.heading
    tool = Component(type=ComponentType.APPLICATION, name="weightfeat", version=heading.version)
    metadata = BomMetaData(
        tools=ToolRepository(components=[tool]), timestamp=heading.started, properties=_of_run(heading)
    )
    return Bom(
        components=[_component(entry) for entry in report.entries],
        metadata=metadata,
        serial_number=_serial(report),
    )


def _of_run(heading: Heading) -> list[Property]:
    from cyclonedx.model import Property

    return [
        Property(name="weightfeat:detector:schema_version", value=str(heading.detector_schema)),
        Property(name="weightfeat:detector:sha256", value=heading.detector_sha256),
    ]


def _component(entry: Entry) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component, ComponentType

    told = entry_object(entry)
    wanted = (
        "said",
        "rule",
        "probability",
        "clean_share",
        "architecture",
        "classes",
        "compared_with",
        "size",
    )
    properties = [
        Property(name=f"weightfeat:{name}", value=str(told[name]))
        for name in wanted
        if told.get(name) is not None
    ]
    if entry.verdict is not None and entry.verdict.is_named and entry.verdict.suspect is not None:
        target = entry.called(entry.verdict.suspect.target)
        properties.append(Property(name="weightfeat:target", value=target))
    properties += [
        Property(name="weightfeat:finding", value=f"{finding['rule']}: {finding['detail']}")
        for finding in told.get("findings", ())
    ]
    if entry.error is not None:
        properties.append(Property(name="weightfeat:error", value=str(entry.error)))
    if entry.acceptance is not None:
        properties.append(Property(name="weightfeat:accepted", value=entry.acceptance.reason))
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=entry.sha256)] if entry.sha256 else []
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=_text(entry),
        bom_ref=f"model-{hashlib.sha256(_text(entry).encode()).hexdigest()[:16]}",
        hashes=hashes,
        properties=properties,
    )


def _text(entry: Entry) -> str:
    """The path, what is no UTF-8 in it escaped."""
    return str(entry.path).encode("utf-8", "backslashreplace").decode()


def _serial(report: Report) -> uuid.UUID:
    """The same for the same files and the same moment."""
    words = [
        report.heading.started.isoformat(),
        *(f"{_text(entry)} {entry.sha256}" for entry in report.entries),
    ]
    return uuid.uuid5(uuid.NAMESPACE_OID, "\n".join(words))

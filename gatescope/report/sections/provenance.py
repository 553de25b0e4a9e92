"""Where the numbers of a report come from: everything that one needs to get them again."""

from collections.abc import Mapping, Sequence

from ..section import Section, Table

SENTENCE = 600
"""Letters of a cell that holds a sentence."""


def provenance_section(entries: Mapping[str, str], *, lead: str, tables: Sequence[Table] = ()) -> Section:
    """One row an entry: data, seeds, dtype, versions; nothing that names a person, a machine or a folder."""
    return Section(
        key="provenance",
        title="Where these numbers come from",
        lead=lead,
        tables=(Table("Data, seeds and versions", ("what", "value"), tuple(entries.items()), SENTENCE), *tables),
    )

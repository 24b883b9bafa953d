"""The plan of a model in an OCI image layout."""

from __future__ import annotations

from modelpack.layout import OciLayout
from modelpack.manifest import Descriptor
from modelpack.plan.files import FetchPlan, ListedFile, listed_files
from modelpack.plan.planning import plan_fetch
from modelpack.plan.selection import Selection
from modelpack.reading import read_model
from modelpack.tensors.entries import ReadRange


def plan_in_layout(layout: OciLayout, ref: str = "", selection: Selection | None = None) -> FetchPlan:
    """What `selection` (everything, if none) needs of the model called `ref`.

    Raises InvalidSelection, what is wrong with the layout or the model, and what `plan_fetch` raises.
    """
    model = read_model(layout, ref)
    table = layout.chunk_table(model.manifest)

    def open_ranges(file: ListedFile) -> ReadRange:
        def read(start: int, length: int) -> bytes:
            blob = Descriptor(media_type="", digest=file.digest, size=file.size)
            with layout.blobs.open(blob, file.path) as opened:
                opened.seek(start)
                return opened.read(length)

        return read

    return plan_fetch(
        listed_files(model.artifact, (str(layout.path),)),
        selection or Selection(),
        open_ranges,
        provable=lambda digest: table is not None and table.of(digest) is not None,
        reference=ref,
        digest=model.descriptor.digest,
    )

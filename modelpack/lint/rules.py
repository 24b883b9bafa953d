"""All rules of lint. An id is stable: it is never given to another rule; a rule that goes leaves a hole.

MP1 manifest   MP2 layers and their annotations   MP3 model config   MP4 names   MP5 files of the model together
MP6 safetensors   MP7 GGUF   MP8 archives   MP9 where the model is kept

An error breaks a MUST of the specification, or makes the model unusable; a warning breaks a SHOULD, or will surprise
some reader; a note is worth knowing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

from modelpack.deviations import Severity


@dataclass(frozen=True, slots=True)
class Rule:
    """`section` names the document that asks for it; `remedy` is for the publisher."""

    id: str
    name: str
    severity: Severity
    section: str
    summary: str
    remedy: str


_TABLE = """
MP101 manifest-invalid error (OCI image-spec 1.1, manifest.md)
  The manifest cannot be read: it is no single, unambiguous JSON object of an image manifest's shape.
> Push the model again with a tool that writes image-spec manifests.
MP102 manifest-media-type error (ModelPack spec.md, manifest)
  The manifest's mediaType must be that of an OCI image manifest.
> Set mediaType to application/vnd.oci.image.manifest.v1+json.
MP103 artifact-type error (ModelPack spec.md, manifest)
  The manifest's artifactType must be that of a model.
> Set artifactType to application/vnd.cncf.model.manifest.v1+json.
MP104 config-media-type error (ModelPack spec.md, manifest)
  The config's media type must be that of a model config.
> Set config.mediaType to application/vnd.cncf.model.config.v1+json.
MP105 vendor-cnai warning (ModelPack 0.0.7, changes)
  Media types or annotations carry the vendor cnai, which is cncf since version 0.0.7.
> Build the model again with a tool that writes version 0.0.7 or later.
MP106 manifest-large warning (OCI distribution-spec 1.1, manifests)
  The manifest nears 4 MiB, the most that registries take.
> Put small files together into archives.
MP107 digest-algorithm warning (OCI image-spec 1.1, descriptor.md)
  A digest is of another algorithm than sha256, the only one that every reader must know.
> Use sha256.
MP108 embedded-data error (OCI image-spec 1.1, descriptor.md)
  The data embedded in a descriptor must be the blob's content in base64.
> Leave data out.
MP109 foreign-urls note (OCI image-spec 1.1, descriptor.md)
  A descriptor names URLs outside of the registry, which careful readers do not follow.
> Push the blob to the registry.
MP110 annotation-date warning (OCI image-spec 1.1, annotations.md)
  org.opencontainers.image.created must be a date and time of RFC 3339.
> Write it as 2026-01-31T12:00:00Z.
MP111 no-layers error (ModelPack spec.md, manifest)
  The artifact holds no files.
> Push the model again.
MP112 other-format note (ModelPack spec.md, manifest)
  The artifact is in another tool's format; the rules for ModelPack manifests and configs were not applied.
> Convert it with `modeldist build` if ModelPack readers are to take it.
MP201 layer-type error (ModelPack spec.md, layers)
  A layer's media type must be one of the twenty of the specification.
> Use application/vnd.cncf.model.<kind>.v1.<encoding>.
MP202 layer-type-old warning (ModelPack spec.md, layers)
  A layer's media type is one that earlier tools invented.
> Use application/vnd.cncf.model.weight.v1.raw.
MP203 weights-compressed warning (ModelPack spec.md, layers)
  Weights are recommended uncompressed: they hardly shrink, and compressed ones cannot be read in parts.
> Pack weights as raw or tar.
MP204 weights-together warning (ModelPack spec.md, layers)
  Several weight files should be in layers of their own; one archive holds them all.
> Give each weight file a layer.
MP205 filepath-missing warning (ModelPack annotations.md, layer annotations)
  A layer should say its path in org.cncf.model.filepath.
> Set the annotation to the path relative to the model's directory.
MP206 title-missing warning (OCI image-spec 1.1, annotations.md)
  A layer has no org.opencontainers.image.title, the only name that CRI-O and podman look at first.
> Set the title to the same path as org.cncf.model.filepath.
MP207 paths-disagree warning (ModelPack annotations.md, layer annotations)
  A layer's path and title differ, so readers will call the file differently.
> Set both to the same path.
MP208 file-metadata-missing note (ModelPack annotations.md, layer annotations)
  A layer does not note its file's mode, owner and time.
> Set org.cncf.model.file.metadata+json.
MP209 file-metadata-invalid warning (ModelPack annotations.md, layer annotations)
  A layer's file metadata is not what the specification describes.
> Write name, mode, uid, gid, size, mtime (RFC 3339) and typeflag as JSON in a string.
MP210 file-metadata-size warning (ModelPack annotations.md, layer annotations)
  A layer's file metadata contradicts its size.
> Write the file's size.
MP211 untested-value warning (ModelPack annotations.md, layer annotations)
  org.cncf.model.file.mediatype.untested must be true or false.
> Write the text true or false.
MP212 kind-mismatch warning (ModelPack spec.md, layers)
  A layer's kind does not fit its file, so that a selection by kind misses it or takes too much.
> Give weights the kind weight, and nothing else.
MP213 layer-empty warning (ModelPack spec.md, layers)
  A weight layer has no bytes.
> Push the model again from whole files.
MP214 layer-without-name error (ModelPack annotations.md, layer annotations)
  A raw layer has no name at all and cannot become a file.
> Set org.cncf.model.filepath.
MP301 config-invalid error (ModelPack config.md)
  The model config cannot be read: it is no single, unambiguous JSON object.
> Write it as JSON without duplicate keys, of at most 4 MiB.
MP302 config-unknown-member error (ModelPack config.md, schema)
  The model config has a member that the schema does not allow.
> Remove it; annotations of the manifest may hold more.
MP303 config-missing-member error (ModelPack config.md, schema)
  The model config lacks a required member.
> descriptor, config and modelfs with type and diffIds are required.
MP304 config-wrong-value error (ModelPack config.md, schema)
  A member of the model config has a value that the schema does not allow.
> Write what the schema asks for.
MP305 config-old-name error (ModelPack 0.0.7, changes)
  The model config uses a member's name from before version 0.0.7.
> Use the new name.
MP306 config-empty warning (ModelPack config.md)
  The model config is an empty object.
> Describe the model, and list its layers in modelfs.diffIds.
MP307 diff-ids-count error (ModelPack config.md, modelfs)
  modelfs.diffIds must list each layer once, in their order.
> List the digest of each uncompressed layer.
MP308 diff-id-mismatch error (ModelPack config.md, modelfs)
  A diffId must be the digest of its uncompressed layer.
> Build the model again.
MP309 diff-id-digest error (OCI image-spec 1.1, descriptor.md)
  A diffId is no digest.
> Write it as sha256: and 64 lower-case hexadecimal digits.
MP310 param-size warning (ModelPack config.md, paramSize)
  paramSize must be a number with at most one decimal and one of K, M, B, T, Q.
> Write it like 6.7b.
MP311 precision warning (ModelPack config.md, precision)
  precision should list the specification's names, separated by commas.
> Write it like bfloat16 or float8_e4m3,bfloat16.
MP312 license-not-spdx warning (ModelPack config.md, licenses)
  A license should be an SPDX license expression.
> Use an identifier of the SPDX license list, or LicenseRef-<name> for any other license.
MP313 license-spelling note (ModelPack config.md, licenses)
  A license is an SPDX expression in another spelling than the list's.
> Use the list's spelling.
MP314 license-missing note (ModelPack config.md, licenses)
  The model names no license.
> Set descriptor.licenses, and add the license's text as a file.
MP315 url warning (ModelPack config.md, descriptor)
  docURL, sourceURL and datasetsURL must be absolute URLs.
> Write it like https://example.org/model.
MP316 capability-removed warning (ModelPack main, changes)
  capabilities.embedding exists in version 0.0.7 only; the schema now rejects it.
> Put embedding into capabilities.outputTypes.
MP317 language warning (ModelPack config.md, languages)
  A language is none of ISO 639-1.
> Use its two-letter code, such as en.
MP318 model-name-missing note (ModelPack config.md, descriptor)
  The model has no name.
> Set descriptor.name.
MP319 format-mismatch warning (ModelPack config.md, format)
  config.format names a format of which the model holds no file.
> Write the format of the weights.
MP320 param-size-mismatch warning (ModelPack config.md, paramSize)
  paramSize is not what the weights' headers add up to.
> Leave it out, or write what `modeldist inspect` finds.
MP321 precision-mismatch warning (ModelPack config.md, precision)
  precision names none of the types that the weights' headers have.
> Leave it out, or write the weights' types.
MP322 members-twice warning (ModelPack config.md)
  A list of the model config names the same thing twice.
> Name it once.
MP401 name-unsafe error (safety of the reader)
  A file's name would leave the model's directory, or replace or shadow another file.
> Use relative, distinct names of plain characters.
MP402 name-not-portable warning (safety of the reader)
  A file's name cannot exist on every system, or looks different on some.
> Use letters, digits, dot, dash and underscore; NFC; none of Windows' device names.
MP501 two-weight-families warning (habits of loaders)
  The model holds its weights twice, as consolidated* and as other safetensors files; some loaders take one, some
  the other, and copies cost twice.
> Keep one family.
MP502 pickled-weights note (safety of the reader)
  Weights are in a format that runs code when it is loaded.
> Publish safetensors or GGUF.
MP503 index-invalid error (safetensors format)
  A safetensors index cannot be read, or has no weight_map of texts.
> Save the model again.
MP504 index-file-missing error (safetensors format)
  A safetensors index names a file that the model does not hold.
> Add the file, or save the model again.
MP505 index-tensor-missing error (safetensors format)
  A safetensors index looks for a tensor in a file that does not have it.
> Save the model again.
MP506 index-tensor-unlisted warning (safetensors format)
  A file that the index names holds tensors that the index does not, which loaders leave out.
> Save the model again.
MP507 index-file-unlisted warning (habits of loaders)
  A safetensors file beside an index is not in it, so loaders leave it out.
> Remove the file, or save the model again.
MP508 index-total-size note (safetensors format)
  A safetensors index's total_size is not the bytes of its tensors.
> Save the model again.
MP509 shards-incomplete error (habits of loaders)
  Some files of a split model are missing.
> Add them.
MP510 pointer-file error (habits of loaders)
  A file is no weights but a Git LFS pointer or a web page in their place.
> Run git lfs pull, or download the file again.
MP511 no-weights warning (habits of loaders)
  The model holds no weights.
> Add them, or call it what it is.
MP512 pickle-beside-safetensors warning (habits of loaders)
  The same weights seem to be there twice, in safetensors and in a format that runs code.
> Keep the safetensors files.
MP513 tensor-twice warning (safetensors format)
  Two files of one family hold a tensor of the same name.
> Save the model again.
MP514 no-model-json note (habits of loaders)
  Safetensors weights without a config.json: engines cannot tell the architecture.
> Add config.json.
MP515 license-text-missing note (habits of loaders)
  A license is named and its text is not among the files.
> Add LICENSE.
MP601 safetensors-invalid error (safetensors format)
  The header of a safetensors file cannot be read: its length, its JSON, or what it says of a tensor.
> Save or download the file again.
MP602 safetensors-header-large warning (huggingface_hub, safetensors header)
  A safetensors header has more than 25,000,000 bytes, which the Hugging Face client refuses.
> Split the model into more files.
MP603 safetensors-unaligned note (safetensors format)
  The tensors do not start at a multiple of 8 bytes, so that they cannot be mapped in place.
> Pad the header with spaces.
MP604 safetensors-format-missing note (habits of loaders)
  The header's __metadata__ names no format, which transformers asks for.
> Save with metadata format=pt.
MP605 safetensors-empty warning (safetensors format)
  A safetensors file holds no tensors.
> Remove it, or save the model again.
MP606 safetensors-header-cap error (safetensors format)
  A safetensors header claims more than 100,000,000 bytes, which no reader takes.
> Save or download the file again.
MP607 safetensors-hole error (safetensors format)
  Bytes between the tensors of a safetensors file belong to none.
> Save the file again.
MP608 safetensors-overlap error (safetensors format)
  Two tensors of a safetensors file share bytes.
> Save the file again.
MP609 safetensors-shape error (safetensors format)
  A tensor's bytes are more or fewer than its type and shape need.
> Save the file again.
MP610 safetensors-length error (safetensors format)
  A safetensors file is longer or shorter than 8 bytes, its header and its last tensor's end.
> Save or download the file again: it may have been cut off.
MP701 gguf-invalid error (GGUF format)
  A GGUF file breaks its format.
> Convert or download the file again.
MP702 gguf-split error (GGUF format)
  The files of a split GGUF model do not agree on how many there are, or lack tensors.
> Split the model again: all files must come from one run.
MP703 gguf-architecture-missing warning (habits of loaders)
  A GGUF file names no general.architecture, without which llama.cpp does not load it.
> Convert the model again.
MP801 archive-invalid error (ModelPack spec.md, layers)
  An archive is damaged, or holds what must not be unpacked.
> Build it again.
MP802 archive-order note (ModelPack spec.md, reproducible tar)
  An archive's entries should be in lexicographic order.
> Sort them: tar --sort=name.
MP803 archive-times note (ModelPack spec.md, reproducible tar)
  An archive's entries should have one constant time.
> tar --mtime=@0, or SOURCE_DATE_EPOCH.
MP804 archive-owners note (ModelPack spec.md, reproducible tar)
  An archive's entries should have one constant owner, and no names of users.
> tar --owner=0 --group=0 --numeric-owner.
MP805 archive-platform warning (ModelPack spec.md, reproducible tar)
  An archive should hold no metadata of one platform: extended attributes, access times, AppleDouble files.
> tar --no-xattrs --no-acls --no-selinux; remove ._* and .DS_Store.
MP806 archive-metadata-missing warning (ModelPack spec.md, layers)
  An archive's entries must carry time, owner and mode.
> Build it with GNU tar or bsdtar.
MP807 archive-name warning (ModelPack annotations.md, layer annotations)
  An archive of one file holds it under another name than the layer's path.
> Use one name for both.
MP808 archive-not-read note (ModelPack spec.md, layers)
  A compressed archive is too large to be read for this, so its content was not looked at.
> Lint the model in a layout or a directory.
MP901 blob-missing error (OCI image-spec 1.1, image-layout.md)
  A blob that the manifest names is missing.
> Copy or push the model again.
MP902 blob-size error (OCI image-spec 1.1, descriptor.md)
  A blob is longer or shorter than its descriptor says.
> Copy or push the model again.
MP903 blob-digest error (OCI image-spec 1.1, descriptor.md)
  A blob's content is not what its digest says.
> Copy or push the model again.
MP904 directory-unbuildable error (modeldist build)
  The directory cannot be built into a model.
> Name the directory that holds the model's files; put a copy in the place of a link out of it.
MP905 ambiguous-index warning (OCI image-spec 1.1, image-index.md)
  An index holds several models and nothing that decides between them; readers will refuse its tag.
> Tag the models one by one, or label them.
MP906 no-model error (ModelPack spec.md, manifest)
  What is there is no model in any known format.
> Check the reference.
MP907 chunk-table error (docs/chunk-table.md)
  The manifest names a chunk table that is damaged, or of another model.
> Build the model again.
MP908 chunk-table-missing warning (docs/chunk-table.md)
  The manifest names a chunk table that is not there, so no part of a file can be proven before the whole is read.
> Copy the model with a tool that takes along what refers to it, or push it again.
"""
# `<id> <name> <severity> (<section>)`, then the summary, then the remedy behind angle brackets

_HEAD = re.compile(r"(MP\d{3}) ([a-z0-9-]+) (error|warning|note) \((.+)\)")


def _read(table: str) -> list[Rule]:
    rules: list[Rule] = []
    for block in re.split(r"\n(?=MP\d)", table.strip()):
        head, *lines = block.splitlines()
        match = _HEAD.fullmatch(head)
        assert match is not None, head
        summary = " ".join(line.strip() for line in lines if not line.startswith(">"))
        remedy = " ".join(line.removeprefix(">").strip() for line in lines if line.startswith(">"))
        rules.append(Rule(match[1], match[2], cast(Severity, match[3]), match[4], summary, remedy))
    return rules


RULES: dict[str, Rule] = {rule.id: rule for rule in _read(_TABLE)}
"""By id, in order."""
BY_NAME: dict[str, Rule] = {rule.name: rule for rule in RULES.values()}

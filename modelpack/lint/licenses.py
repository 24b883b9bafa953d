"""SPDX license expressions. The list of identifiers is that of `packaging`, which follows SPDX's releases."""

from __future__ import annotations

import re

_REFERENCE = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+")


def canonical_license(expression: str) -> str | None:
    """The expression in the list's spelling; None when it is no SPDX license expression.

    Identifiers are compared without regard to case, as SPDX asks. A reference into another document
    (`DocumentRef-x:LicenseRef-y`) is taken as it is.
    """
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    references: list[str] = []

    def stand_in(match: re.Match[str]) -> str:
        references.append(match[0])
        return f"LicenseRef-{len(references)}-stand-in"

    plain = _REFERENCE.sub(stand_in, expression)
    try:
        canonical = str(canonicalize_license_expression(plain))
    except InvalidLicenseExpression:
        return None
    for number, reference in enumerate(references, start=1):
        canonical = canonical.replace(f"LicenseRef-{number}-stand-in", reference)
    return canonical

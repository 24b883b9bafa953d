from __future__ import annotations

import base64

import pytest

from modeldist.gateway.oci.callers import LIFE, Callers, UnknownToken
from modelpack.oci.credentials import Credential


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def test_a_token_stands_for_a_credential_until_it_is_old() -> None:
    now = 0.0
    callers = Callers(lambda: now)
    token = callers.token(basic("ada:a:b"))
    assert callers.credential(f"bearer {token}") == callers.credential(basic("ada:a:b")) == Credential("ada", "a:b")
    assert callers.token(basic("ada:a:b")) != token
    now = LIFE
    with pytest.raises(UnknownToken):
        callers.credential(f"Bearer {token}")


@pytest.mark.parametrize("nobody", ["", basic(":")])
def test_nobody_in_particular(nobody: str) -> None:
    callers = Callers()
    assert callers.credential(nobody) is None
    assert callers.credential(f"Bearer {callers.token(nobody)}") is None


@pytest.mark.parametrize(
    "wrong", ["Bearer", "Bearer x", "Basic", "Basic !", basic("no-colon"), "Digest x", "Basic /w=="]
)
def test_what_nobody_gave_out(wrong: str) -> None:
    with pytest.raises(UnknownToken):
        Callers().credential(wrong)

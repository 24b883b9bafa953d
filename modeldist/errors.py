"""Every error a user can meet, grouped by cause.

    ModeldistError                      code                 exit
    ├── UsageError                      usage                2
    │   ├── InvalidReference            invalid_reference    2
    │   ├── InvalidPolicy               invalid_policy       2
    │   ├── IdempotencyKeyReused        idempotency_key_reused 2
    │   ├── NotEnoughNodes              not_enough_nodes     2
    │   ├── ModelPinned                 pinned               2
    │   └── RolloutUnderWay             rollout_under_way    2
    ├── OriginError
    │   ├── NotFound                    not_found            4
    │   ├── AuthenticationRequired      unauthorized         5
    │   ├── AccessDenied                access_denied        6
    │   ├── RateLimited                 rate_limited         7
    │   ├── OriginUnavailable           origin_unavailable   8
    │   └── OriginProtocolError         origin_protocol      9
    ├── IntegrityError                  integrity            10
    │   └── UnsafeArtifact              unsafe_artifact      11
    ├── Untrusted                       untrusted            21
    ├── StorageError                    storage              12
    │   ├── NotEnoughSpace              not_enough_space     13
    │   ├── StoreNotWritable            store_not_writable   14
    │   └── StoreDamaged                store_damaged        20
    ├── ControlPlaneError
    │   ├── ControlPlaneUnreachable     control_unreachable  15
    │   │   └── NotLeading              not_leading          15
    │   ├── ControlPlaneRefused         control_refused      16
    │   └── Overloaded                  overloaded           25
    │       └── ShareUsedUp             share_used_up        25
    ├── AgentError                      agent                17
    │   └── NotReady                    not_ready            17
    ├── PullFailed                      pull_failed          18
    ├── DeadlineExceeded                deadline_exceeded    22
    ├── InvalidWebhook                  invalid_webhook      23
    ├── MountFailed                     mount_failed         24
    ├── Unsupported                     unsupported          19
    ├── ProgramNotRunnable              program_not_runnable 126
    ├── ProgramNotFound                 program_not_found    127
    └── Cancelled                       cancelled            130

An error says what happened and to which thing (`message`) and what to do about it (`remedy`). `code` is stable: it
crosses the session, the REST API and the agent's socket as `ErrorInfo` and becomes the same class again on the other
side. Exit code 1 is left to bugs (a traceback), 3 is unused because some shells give it a meaning; 26 is what
`modeldist doctor` found, 31 to 33 what `modeldist lint` did (see there).
"""

from __future__ import annotations

from typing import ClassVar, Final, Self

import msgspec

UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what was asked for: its own errors cover neither text that is not UTF-8
nor nesting without an end."""


class ErrorInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as it travels between processes."""

    code: str
    message: str
    remedy: str = ""
    retry_after: float | None = None  # seconds

    def as_error(self) -> ModeldistError:
        """The exception this describes; an unknown code (a newer peer) becomes a plain ModeldistError."""
        cls = _BY_CODE.get(self.code, ModeldistError)
        return cls(self.message, remedy=self.remedy, retry_after=self.retry_after)


class ModeldistError(Exception):
    """Root. `message` names the thing; `remedy` says what to do; `retry_after` is in seconds."""

    code: ClassVar[str] = "internal"
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, remedy: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".rstrip()

    def info(self) -> ErrorInfo:
        return ErrorInfo(self.code, self.message, self.remedy, self.retry_after)

    def about(self, thing: str) -> Self:
        """The same error, said of `thing` (prefixes the message once)."""
        if thing in self.message:
            return self
        return type(self)(f"{thing}: {self.message}", remedy=self.remedy, retry_after=self.retry_after)


class UsageError(ModeldistError):
    """The command or request itself is wrong."""

    code = "usage"
    exit_code = 2


class InvalidReference(UsageError):
    """A reference that cannot be parsed."""

    code = "invalid_reference"


class InvalidPolicy(UsageError):
    """A policy file, or a key, that cannot be used."""

    code = "invalid_policy"


class IdempotencyKeyReused(UsageError):
    """An idempotency key that meant another request."""

    code = "idempotency_key_reused"


class NotEnoughNodes(UsageError):
    """More nodes were asked for than are connected."""

    code = "not_enough_nodes"


class ModelPinned(UsageError):
    """A model that shall be evicted and is pinned."""

    code = "pinned"


class RolloutUnderWay(UsageError):
    """A rollout that shall begin while another one has not ended."""

    code = "rollout_under_way"


class OriginError(ModeldistError):
    """The origin (registry, hub, web server, directory) did not give what was asked."""

    code = "origin"
    exit_code = 8


class NotFound(OriginError):
    """The repository, tag, revision, file or blob does not exist (404)."""

    code = "not_found"
    exit_code = 4


class AuthenticationRequired(OriginError):
    """The origin wants credentials, or refused the ones it got (401)."""

    code = "unauthorized"
    exit_code = 5


class AccessDenied(OriginError):
    """The credentials are known but may not read this (403)."""

    code = "access_denied"
    exit_code = 6


class RateLimited(OriginError):
    """The origin asked for fewer requests and kept asking (429)."""

    code = "rate_limited"
    exit_code = 7


class OriginUnavailable(OriginError):
    """The origin cannot be reached, or answers 5xx, after all retries."""

    code = "origin_unavailable"
    exit_code = 8


class OriginProtocolError(OriginError):
    """The origin's answer breaks the protocol: short body, wrong length, redirect loop, malformed document."""

    code = "origin_protocol"
    exit_code = 9


class IntegrityError(ModeldistError):
    """Bytes whose digest or size is not what the manifest says."""

    code = "integrity"
    exit_code = 10


class UnsafeArtifact(IntegrityError):
    """An artifact whose names, links or sizes would harm the machine."""

    code = "unsafe_artifact"
    exit_code = 11


class Untrusted(ModeldistError):
    """The policy asks for a signature that counts, and the model has none."""

    code = "untrusted"
    exit_code = 21


class StorageError(ModeldistError):
    """The node's store failed."""

    code = "storage"
    exit_code = 12


class NotEnoughSpace(StorageError):
    """The disk cannot hold the artifact; found before the first byte."""

    code = "not_enough_space"
    exit_code = 13


class StoreNotWritable(StorageError):
    """The store's directory cannot be written."""

    code = "store_not_writable"
    exit_code = 14


class StoreDamaged(StorageError):
    """What the store holds is not what its digests say."""

    code = "store_damaged"
    exit_code = 20


class ControlPlaneError(ModeldistError):
    """The control plane cannot help."""

    code = "control"
    exit_code = 15


class ControlPlaneUnreachable(ControlPlaneError):
    """No answer from the control plane."""

    code = "control_unreachable"
    exit_code = 15


class NotLeading(ControlPlaneUnreachable):
    """This replica of the control plane only stands by; nothing was done. Another one leads, or will in a moment."""

    code = "not_leading"


class ControlPlaneRefused(ControlPlaneError):
    """The control plane answered and said no (token, protocol version, admission)."""

    code = "control_refused"
    exit_code = 16


class Overloaded(ControlPlaneError):
    """The control plane has no room for more now, and did nothing of what was asked. `retry_after` says when to ask
    again."""

    code = "overloaded"
    exit_code = 25


class ShareUsedUp(Overloaded):
    """The control plane has room, but whoever this token belongs to uses as much as one may."""

    code = "share_used_up"


class AgentError(ModeldistError):
    """The local agent cannot be reached or failed."""

    code = "agent"
    exit_code = 17


class NotReady(AgentError):
    """The local agent runs, and could not do its work now."""

    code = "not_ready"


class PullFailed(ModeldistError):
    """A pull ended without a snapshot for a reason that is no other class here."""

    code = "pull_failed"
    exit_code = 18


class DeadlineExceeded(ModeldistError):
    """A pull's deadline passed before it ended; what was fetched stays for the next pull."""

    code = "deadline_exceeded"
    exit_code = 22


class InvalidWebhook(ModeldistError):
    """A webhook that is not the control plane's, was changed on its way, or is too old."""

    code = "invalid_webhook"
    exit_code = 23


class MountFailed(ModeldistError):
    """A directory cannot be mounted or unmounted: a part of FUSE is missing here, or something is in the way."""

    code = "mount_failed"
    exit_code = 24


class Unsupported(ModeldistError):
    """Well formed, but nothing here can read it."""

    code = "unsupported"
    exit_code = 19


class ProgramNotRunnable(ModeldistError):
    """The program to become is there and cannot be executed; the exit code is a shell's."""

    code = "program_not_runnable"
    exit_code = 126


class ProgramNotFound(ModeldistError):
    """There is no such program to become; the exit code is a shell's."""

    code = "program_not_found"
    exit_code = 127


class Cancelled(ModeldistError):
    """Stopped by the user; what was fetched stays for the next pull."""

    code = "cancelled"
    exit_code = 130


def _all(cls: type[ModeldistError]) -> dict[str, type[ModeldistError]]:
    found = {cls.code: cls}
    for sub in cls.__subclasses__():
        found.update(_all(sub))
    return found


_BY_CODE = _all(ModeldistError)

"""modeldist as a next version would be in a rolling upgrade: it speaks the session's next protocol, and today's
beside it. Run as a program, with modeldist's arguments."""

from modeldist.session import messages

messages.OLDEST_PROTOCOL, messages.PROTOCOL = messages.PROTOCOL, messages.PROTOCOL + 1

from modeldist.cli.main import run  # noqa: E402 - what it imports takes the numbers above

run()

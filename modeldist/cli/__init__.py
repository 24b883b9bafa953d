"""The command line: `modeldist pull`, `build`, `push`, `ls`, `server`, `agent`, …

May import everything below it (agent, control, origins, modelpack); nothing imports it. Start-up time counts: a module
here imports only click, msgspec and the standard library at its top, and the rest inside the command that needs it.

    main.py      the program: all commands, the error boundary around them
    boundary.py  errors become one sentence and an exit code         failures.py  errors of other libraries, as ours
    node.py      the agent of this machine, or its store directly    embedded.py  the engine inside this process
    commands/    one module per command
"""

"""Benchmarks: each prints ratios to what a user would use instead, taken in one run on one machine.

`python -m modeldist.bench NAME` runs one; with `--write` its result becomes a marked section of docs/performance.md.
May import everything but cli (commands are run as programs).

    machine.py   what ran it and how busy it was        runs.py      repeated runs, medians, spread
    report.py    sections of docs/performance.md        programs.py  a program's time, CPU and memory
    nginx.py     plain and Hugging Face shaped origin   rivals.py    programs and libraries to compare with
    single.py    one node, one file                     small_files.py  one node, a thousand small files
    peers.py     one node from another, node_pair.py    transports.py  the data plane alone, beside libraries/
    control.py   thousands of agents and one server        simulator.py  swarms too large to own
    delta.py     a new version of a model, where the old one is
    stream.py    tensors while a model arrives: loading.py, the loads; shaped_link.py, the link
    cold_load.py loading two layouts of a model from a cold page cache
    options.py   what those that move files ask alike
"""

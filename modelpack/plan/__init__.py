"""Plans: which bytes of a model are needed, before any of them moves.

    listing + Selection (+ headers of weight files, read by ranges) --> FetchPlan

`selection` says what is wanted, `files` chooses whole files, `families` keeps the same weights from coming twice,
`rank_rules` is the table of what one rank of a parallel deployment loads, `ranges` turns tensors into byte ranges, and
`planning` puts it together. Pure but for the ranged reads that are passed in.
"""

"""Who vouches for a model: signatures as cosign and OpenSSF model-signing write them, made with a local key and judged
by a policy from the manifest alone, before any weight moves. May import modelpack; libraries of the extra `trust`
(sigstore) only inside functions that need them.

    keys             public and private keys in PEM
    dsse             the signed envelope
    statements       what is signed: in-toto statements, cosign's simple signing
    bundles          sigstore bundles made and checked with a key
    keyless          sigstore bundles with a certificate, against a trust root in a file
    model_signing    OpenSSF model-signing, compared with a manifest's layers or with a directory
    evidence         what a registry or a layout has to say for a model
    policy           which signatures count for which models
    judging          evidence held against a policy
    signing          a signature made, and where it goes
"""

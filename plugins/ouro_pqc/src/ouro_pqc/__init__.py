"""Post-quantum key exchange and signatures, by the same hooks as the classical ones of the core.

Theory of operation. The algorithms are those of other libraries; what is here is the protocol's view of them: names and
numbers, forms of keys on the wire and in files, the hybrids, and the choice of the library.

    parameters   the algorithms: names, numbers, sizes
    files        PEM, PKCS#8 and SubjectPublicKeyInfo, as far as these algorithms need them
    providers    one module a library, and the order in which they are asked
    mlkem        ML-KEM on raw bytes: lengths, forms of the secret key, errors
    kem, hybrid  the key exchanges
    signatures   ML-DSA and SLH-DSA on raw bytes
    authenticators   certificates with such keys, and chains with such issuers

No library is imported before somebody asks what an algorithm can do. Sizes and encodings: FIPS 203, 204, 205; what is
on the wire and in files: oap.md 3, 4 and 7.
"""

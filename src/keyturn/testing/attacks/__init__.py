"""A catalogue of bad tokens: named attacks, each with the error that must come out."""

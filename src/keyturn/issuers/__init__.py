"""Presets for particular issuers: data over the one validator. Each is a module of its own, `from keyturn.issuers import entra`."""

"""Key histories of issuers replayed under rollover policies, in virtual time (`keyturn simulate`)."""

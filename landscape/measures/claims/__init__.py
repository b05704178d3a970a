"""Whether the invariances that a measure claims hold: small nets, changes that leave their function as it is."""

from landscape.measures.claims.check import Claim, check_claims

__all__ = ["Claim", "check_claims"]

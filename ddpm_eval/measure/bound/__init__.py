"""The variational bound and what follows from its terms."""

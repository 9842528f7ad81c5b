"""The recipe of the bundled checkpoint pbrec-mt-small, one module per step; scripts/small/ runs them."""

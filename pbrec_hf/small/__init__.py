"""Networks of the bundled checkpoint pbrec-mt-small: NanoDet, its mask head, a backbone with named channels."""

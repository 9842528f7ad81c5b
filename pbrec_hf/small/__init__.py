"""What only the bundled checkpoint pbrec-mt-small invents: NanoDet, its mask head, a backbone with named channels."""

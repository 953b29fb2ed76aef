"""One file per XEP or part of an RFC (a folder where one grows large). The loader finds them; nothing else to edit."""

"""How work is spread: in order and bounded."""

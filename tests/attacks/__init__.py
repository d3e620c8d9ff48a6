"""What a stranger, or somebody who has logged in, may send: stock suffers from it, and pbkit does not."""

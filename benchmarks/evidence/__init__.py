"""Does a curriculum help? Uniform, easy-first, hard-first and a random pool, trained alike and compared in pairs."""

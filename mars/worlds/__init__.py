"""Generated preferences whose truth is known: `planted` in words, `gaussian` in features alone."""

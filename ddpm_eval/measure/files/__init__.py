"""Real files: their bytes and what decodes from them, beside other codecs on the same images."""

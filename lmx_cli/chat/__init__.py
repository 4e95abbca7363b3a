"""Parts of `lmx chat`: user input, sampling parameters, files, and line wrapping of answers."""

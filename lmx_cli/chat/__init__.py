"""Parts of `lmx chat`: what a person types, sampling parameters, files, and the wrapping of answers."""

"""Images in requests: decoding of data in a body, dimensions, and the download of images from allowed hosts."""

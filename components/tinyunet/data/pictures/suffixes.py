"""The extensions of the image files that are read."""

# Of an image and a mask with the same name, the image has the extension that is first here.
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".png", ".gif")

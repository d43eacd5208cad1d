"""The layouts of data sets: each module recognises one layout and lists its samples."""
